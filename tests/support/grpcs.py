"""A small gRPC server that answers every method with a page.

Arguments: address and port, the file with the key, the file with the certificate.
"""

import sys
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc


class _Page(grpc.GenericRpcHandler):  # type: ignore[misc]  # it has no types
    def service(self, called: Any) -> Any:
        def answer(_request: bytes, context: Any) -> bytes:
            context.send_initial_metadata((("x-page", f"page={called.method}"),))
            return b"the body"

        return grpc.unary_unary_rpc_method_handler(answer)


def main(address: str, key: str, certificate: str) -> None:
    """Serve until killed."""
    pair = Path(key).read_bytes(), Path(certificate).read_bytes()
    server = grpc.server(futures.ThreadPoolExecutor(), handlers=[_Page()])
    server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
