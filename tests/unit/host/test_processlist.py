"""The list of processes: names for people, of processes that run here."""

import os
import socket

import pytest

from tccap.host import processlist


@pytest.mark.parametrize(
    ("exe", "args", "title"),
    [
        ("/usr/bin/curl", ["http://x/"], "curl http://x/"),
        ("/usr/lib/git-core/git-remote-http", ["origin"], "git-remote-http origin"),
        ("/usr/bin/python3.11", ["/srv/app.py", "-v"], "python3.11 app.py -v"),
        ("/usr/bin/python3.11", ["-u", "-W", "error", "a/b.py"], "python3.11 b.py"),
        ("/usr/bin/python3", ["-m", "http.server", "80"], "python3 -m http.server 80"),
        ("/usr/bin/node", ["--inspect", "/app/server.js"], "node server.js"),
        (
            "/opt/jdk/bin/java",
            ["-Xmx1g", "-cp", "a:b", "-jar", "x.jar"],
            "java -jar x.jar",
        ),
        ("/opt/jdk/bin/java", ["-cp", "a:b", "org.Main"], "java org.Main"),
        ("/usr/bin/python3", ["-i"], "python3 -i"),
        ("/usr/sbin/nginx", [], "nginx"),
        ("/usr/bin/old (deleted)", [], "old"),
        ("/bin/x", ["y" * 100], "x " + "y" * 43 + "..."),
    ],
)
def test_a_title_names_the_program_and_the_script(
    exe: str, args: list[str], title: str
) -> None:
    assert processlist.title(exe, args) == title


def test_network_sockets_count_and_unix_sockets_do_not() -> None:
    def mine() -> "list[processlist.Listed]":
        listed = processlist.with_network_sockets()
        return [process for process in listed if process.pid == os.getpid()]

    before = sum(process.sockets for process in mine())
    left, right = socket.socketpair()
    with left, right, socket.create_server(("127.0.0.1", 0)) as server:
        (found,) = mine()
        assert server.getsockname()[1] in found.ports
    assert found.sockets == before + 1
    assert found.title.startswith("python")


def test_a_line_has_pid_user_and_some_ports() -> None:
    listed = processlist.Listed(7, "a {b}\n", "ada", (80, 81, 82, 83), 5)
    assert processlist.text_of(listed) == "a ?b?? (pid 7, ada, ports 80, 81, 82, ...)"
    one = listed._replace(title="a", ports=(80,))
    assert processlist.text_of(one) == "a (pid 7, ada, port 80)"
    assert processlist.text_of(one._replace(ports=())) == "a (pid 7, ada)"
