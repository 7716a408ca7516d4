"""Programs and agents in Java, built by the compiler that a JRE of Debian has, too."""

import subprocess
import tempfile
import zipfile
from pathlib import Path

SOURCES = Path(__file__).with_name("java")
CLIENT = SOURCES / "Client.java"
_COMPILER = ("java", "-m", "jdk.compiler/com.sun.tools.javac.Main")
_OPTIONS = ("--add-exports", "java.base/jdk.internal.org.objectweb.asm=ALL-UNNAMED")


def client(jar: Path) -> None:
    """Build a program that fetches a page; its arguments are the port and the name."""
    _build(CLIENT, jar, "Main-Class: Client")


def agent(jar: Path) -> None:
    """Build an agent that appends a key log to the file that it is given."""
    _build(SOURCES / "Agent.java", jar, "Premain-Class: Agent")


def _build(source: Path, jar: Path, role: str) -> None:
    with tempfile.TemporaryDirectory() as made, zipfile.ZipFile(jar, "w") as archive:
        command = [*_COMPILER, *_OPTIONS, "-d", made, str(source)]
        subprocess.run(command, check=True, capture_output=True)
        archive.writestr("META-INF/MANIFEST.MF", f"Manifest-Version: 1.0\n{role}\n")
        for file in Path(made).glob("*.class"):
            archive.write(file, file.name)
