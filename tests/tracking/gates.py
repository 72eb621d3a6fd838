"""A proxy before MLflow's server that answers in its stead, as real ones, logins and broken parts of it do."""

import http.client
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

DRIP = 0  # a status that stands for an answer without an end
PER_HOP = ("connection", "transfer-encoding")
PAGE = "<html>Please sign in</html>"
Answer = tuple[int, dict[str, str], str]


class Handler(BaseHTTPRequestHandler):
    """Answers as the gate's rule says, and passes on where it says nothing."""

    protocol_version = "HTTP/1.1"
    server: "Gate"

    def relay(self) -> None:
        """Read a request and answer it."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":  # which requests takes for an empty file only
            self.rfile.read(len("0\r\n\r\n"))
        answer = self.server.rule(f"{self.command} {self.path}", len(body))
        with suppress(OSError):  # the client has given up
            if answer is None:
                self.pass_on(body)
            elif answer[0] == DRIP:
                self.drip()
            else:
                self.tell(answer[0], answer[1], answer[2].encode())

    def pass_on(self, body: bytes) -> None:
        server = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in PER_HOP}
        server.request(self.command, self.path, body, headers)
        response = server.getresponse()
        self.tell(response.status, {"Content-Type": response.headers["Content-Type"]}, response.read())
        server.close()

    def tell(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        for _ in range(300):
            self.wfile.write(b" ")
            time.sleep(0.1)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = relay  # noqa: N815  # the library's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Gate(ThreadingHTTPServer):
    """A proxy before MLflow's server; it passes on what it is not told to answer."""

    daemon_threads = True

    def __init__(self, target: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.target = target
        self.open()
        Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def open(self) -> None:
        """Pass all on."""
        self.said: Answer | None = None

    def answer(self, status: int, text: str = PAGE, *, to: str = "", above: int = -1, but: int = 0, **headers: str):
        """Answer so to what has `to` in its method and path and is longer than `above`, but for each `but`-th."""
        self.to, self.above, self.but, self.turn = to, above, but, 0
        self.said = (status, {name.replace("_", "-"): value for name, value in headers.items()}, text)

    def rule(self, request: str, length: int) -> Answer | None:
        """What is answered to a request; None where it is passed on."""
        if self.said is None or self.to not in request or length <= self.above:
            return None
        self.turn += 1
        return None if self.but and self.turn % self.but == 0 else self.said
