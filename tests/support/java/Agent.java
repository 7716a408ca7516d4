import java.io.FileOutputStream;
import java.io.PrintStream;
import java.lang.instrument.ClassFileTransformer;
import java.lang.instrument.Instrumentation;
import java.security.ProtectionDomain;
import java.util.HexFormat;
import java.util.Map;
import java.util.Set;
import java.util.function.BiConsumer;
import javax.crypto.SecretKey;
import jdk.internal.org.objectweb.asm.ClassReader;
import jdk.internal.org.objectweb.asm.ClassVisitor;
import jdk.internal.org.objectweb.asm.ClassWriter;
import jdk.internal.org.objectweb.asm.MethodVisitor;
import jdk.internal.org.objectweb.asm.Opcodes;

/* A Java agent for tests: it appends a key log to the file that is its argument. It knows
 * the TLS of OpenJDK 17. */
public class Agent {
	static final String HOOK = "hook of the agent";
	static final Map<String, String> LABELS = Map.of(
		"TlsMasterSecret", "CLIENT_RANDOM",
		"TlsClientHandshakeTrafficSecret", "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
		"TlsServerHandshakeTrafficSecret", "SERVER_HANDSHAKE_TRAFFIC_SECRET",
		"TlsClientAppTrafficSecret", "CLIENT_TRAFFIC_SECRET_0",
		"TlsServerAppTrafficSecret", "SERVER_TRAFFIC_SECRET_0");

	public static void premain(String file, Instrumentation machine) throws Exception {
		var ours = Set.of(Agent.class.getModule());
		machine.redefineModule(Object.class.getModule(), Set.of(),
			Map.of("jdk.internal.org.objectweb.asm", ours),
			Map.of("sun.security.ssl", ours), Set.of(), Map.of());
		var log = new PrintStream(new FileOutputStream(file, true), true);
		BiConsumer<Object, SecretKey> hook = (context, key) -> write(log, context, key);
		System.getProperties().put(HOOK, hook); /* code of java.base sees no class of ours */
		machine.addTransformer(new Transformer());
	}

	static void write(PrintStream log, Object context, SecretKey key) {
		var label = LABELS.get(key.getAlgorithm());
		if (label == null)
			return;
		var random = (byte[]) field(field(context, "clientHelloRandom"), "randomBytes");
		var hex = HexFormat.of();
		log.println(label + " " + hex.formatHex(random) + " "
			    + hex.formatHex(key.getEncoded()));
	}

	static Object field(Object of, String name) {
		for (Class<?> each = of.getClass(); each != null; each = each.getSuperclass()) {
			try {
				var field = each.getDeclaredField(name);
				field.setAccessible(true);
				return field.get(of);
			} catch (NoSuchFieldException inherited) {
				continue;
			} catch (IllegalAccessException error) {
				throw new IllegalStateException(error);
			}
		}
		throw new IllegalStateException(name);
	}
}

class Transformer implements ClassFileTransformer {
	static final String PACKAGE = "sun/security/ssl/";
	static final String OF_1_3 = PACKAGE + "SSLTrafficKeyDerivation$T13TrafficKeyDerivation";
	static final String OF_1_2 = PACKAGE + "SSLMasterKeyDerivation$LegacyMasterKeyDerivation";

	public byte[] transform(ClassLoader loader, String name, Class<?> before,
				ProtectionDomain domain, byte[] code) {
		if (!OF_1_3.equals(name) && !OF_1_2.equals(name))
			return null;
		var changed = new ClassWriter(ClassWriter.COMPUTE_MAXS);
		new ClassReader(code).accept(new Derivation(changed), 0);
		return changed.toByteArray();
	}
}

class Derivation extends ClassVisitor {
	private String name;

	Derivation(ClassVisitor next) {
		super(Opcodes.ASM8, next);
	}

	public void visit(int version, int access, String name, String signature, String above,
			  String[] interfaces) {
		this.name = name;
		super.visit(version, access, name, signature, above, interfaces);
	}

	public MethodVisitor visitMethod(int access, String name, String type, String signature,
					 String[] thrown) {
		var next = super.visitMethod(access, name, type, signature, thrown);
		var wanted = this.name.equals(Transformer.OF_1_2) ? "deriveKey" : "<init>";
		return name.equals(wanted) ? new Method(next) : next;
	}
}

/* Before the method returns, calls the hook with context and key: in TLS 1.2 those are the
 * object's field and what is returned, in TLS 1.3 the arguments of the constructor. */
class Method extends MethodVisitor {
	private static final int KEY = 50; /* a local variable that is not in use */
	private static final String CONSUMER = "java/util/function/BiConsumer";

	Method(MethodVisitor next) {
		super(Opcodes.ASM8, next);
	}

	public void visitInsn(int instruction) {
		if (instruction == Opcodes.ARETURN) {
			visitVarInsn(Opcodes.ASTORE, KEY);
			getHook();
			visitVarInsn(Opcodes.ALOAD, 0);
			visitFieldInsn(Opcodes.GETFIELD, Transformer.OF_1_2, "context",
				       "L" + Transformer.PACKAGE + "HandshakeContext;");
			visitVarInsn(Opcodes.ALOAD, KEY);
			callHook();
			visitVarInsn(Opcodes.ALOAD, KEY);
		}
		if (instruction == Opcodes.RETURN) {
			getHook();
			visitVarInsn(Opcodes.ALOAD, 1);
			visitVarInsn(Opcodes.ALOAD, 2);
			callHook();
		}
		super.visitInsn(instruction);
	}

	private void getHook() {
		visitMethodInsn(Opcodes.INVOKESTATIC, "java/lang/System", "getProperties",
				"()Ljava/util/Properties;", false);
		visitLdcInsn(Agent.HOOK);
		visitMethodInsn(Opcodes.INVOKEVIRTUAL, "java/util/Properties", "get",
				"(Ljava/lang/Object;)Ljava/lang/Object;", false);
		visitTypeInsn(Opcodes.CHECKCAST, CONSUMER);
	}

	private void callHook() {
		visitMethodInsn(Opcodes.INVOKEINTERFACE, CONSUMER, "accept",
				"(Ljava/lang/Object;Ljava/lang/Object;)V", true);
	}
}
