/* Makes a connection to a port of 127.0.0.1, prints "sent", and waits for the end of its
 * input. It trusts every server. */
import java.security.cert.X509Certificate;
import javax.net.ssl.*;

class Client {
	static class Trusting extends X509ExtendedTrustManager {
		public void checkClientTrusted(X509Certificate[] c, String a) { }
		public void checkServerTrusted(X509Certificate[] c, String a) { }
		public void checkClientTrusted(X509Certificate[] c, String a, java.net.Socket s) { }
		public void checkServerTrusted(X509Certificate[] c, String a, java.net.Socket s) { }
		public void checkClientTrusted(X509Certificate[] c, String a, SSLEngine e) { }
		public void checkServerTrusted(X509Certificate[] c, String a, SSLEngine e) { }
		public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
	}

	public static void main(String[] arguments) throws Exception {
		var context = SSLContext.getInstance("TLS");
		context.init(null, new TrustManager[] { new Trusting() }, null);
		var port = Integer.parseInt(arguments[0]);
		var sock = (SSLSocket) context.getSocketFactory().createSocket("127.0.0.1", port);
		sock.startHandshake();
		System.out.println("sent");
		System.in.read();
	}
}
