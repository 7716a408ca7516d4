"""Names of programs, for people."""

import pytest

from tccap.host import programs

PYTHON, NODE, JAVA = "/usr/bin/python3.11", "/usr/bin/node", "/opt/jdk/bin/java"


@pytest.mark.parametrize(
    ("exe", "args", "name"),
    [
        ("/usr/lib/git-core/git-remote-http", ["origin"], "git-remote-http"),
        ("/usr/bin/old (deleted)", [], "old"),
        (PYTHON, ["/srv/app.py", "-v"], "app.py"),
        (PYTHON, ["-u", "-W", "error", "a/b.py"], "b.py"),
        (PYTHON, ["-m", "http.server", "80"], "http.server"),
        (PYTHON, ["-c", "import os; secret = 1"], "python3.11"),
        (PYTHON, ["-"], "python3.11"),
        (PYTHON, [], "python3.11"),
        (PYTHON, ["-m"], "python3.11"),
        (PYTHON, ["", "x"], "python3.11"),
        (NODE, ["--inspect", "/app/server.js"], "server.js"),
        (NODE, ["-e", "text"], "node"),
        (JAVA, ["-Xmx1g", "-cp", "a:b", "-jar", "/srv/x.jar"], "x.jar"),
        (JAVA, ["-cp", "a:b", "org.Main"], "org.Main"),
        ("", [], ""),
    ],
)
def test_a_name_is_the_file_or_the_script(exe: str, args: list[str], name: str) -> None:
    assert programs.name(exe, args) == name
