"""A key-value server on TCP. A line is a command: AUTH password, SET key value, GET key, COUNT, CLEAR."""

import socketserver
import sys
from pathlib import Path


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        allowed = False
        for line in self.rfile:
            word, *rest = line.decode().split()
            allowed = allowed or (word == "AUTH" and rest == [self.server.password])
            self.wfile.write((self.answer(word, rest) if allowed else "DENIED").encode() + b"\n")

    def answer(self, word, rest):
        store = self.server.store
        if word == "SET":
            store[rest[0]] = rest[1]
        elif word == "GET":
            return store.get(rest[0], "NONE")
        elif word == "COUNT":
            return str(len(store))
        elif word == "CLEAR":
            store.clear()
        return "OK"


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    with Server(("127.0.0.1", int(sys.argv[1])), Handler) as server:
        server.password, server.store = Path(sys.argv[2]).read_text(), {}
        server.serve_forever()
