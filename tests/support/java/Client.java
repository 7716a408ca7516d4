import java.security.cert.X509Certificate;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509ExtendedTrustManager;

/* Makes a connection to a port of 127.0.0.1, prints "sent", and waits for the end of its
 * input. With a second argument it fetches that page, and prints it. Every server is trusted. */
class Client {
	static class Trusting extends X509ExtendedTrustManager {
		public void checkClientTrusted(X509Certificate[] chain, String type) { }
		public void checkServerTrusted(X509Certificate[] chain, String type) { }
		public void checkClientTrusted(X509Certificate[] chain, String type,
					       java.net.Socket sock) { }
		public void checkServerTrusted(X509Certificate[] chain, String type,
					       java.net.Socket sock) { }
		public void checkClientTrusted(X509Certificate[] chain, String type,
					       SSLEngine engine) { }
		public void checkServerTrusted(X509Certificate[] chain, String type,
					       SSLEngine engine) { }
		public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
	}

	public static void main(String[] arguments) throws Exception {
		var context = SSLContext.getInstance("TLS");
		context.init(null, new TrustManager[] { new Trusting() }, null);
		var port = Integer.parseInt(arguments[0]);
		var sock = (SSLSocket) context.getSocketFactory().createSocket("127.0.0.1", port);
		sock.startHandshake();
		if (arguments.length > 1) {
			var request = "GET /" + arguments[1] + " HTTP/1.0\r\n\r\n";
			sock.getOutputStream().write(request.getBytes());
			sock.getInputStream().transferTo(System.out);
		} else {
			System.out.println("sent");
			System.in.read();
		}
	}
}
