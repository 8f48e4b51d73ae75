# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of a Kubernetes API server as kubectl needs to look at, patch and drain one node.

A double: it keeps one node and its pods as the API's own JSON. A pod that was evicted is gone after
it was looked at a given number of times, as one that takes its time to end. The paths are those of
the API (v1 and policy/v1); merge patches follow RFC 7396.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

NODE_PATH = "/api/v1/nodes/"
POD_PATH = "/api/v1/namespaces/default/pods/"
_RESOURCES = [
    {"name": "nodes", "namespaced": False, "kind": "Node", "verbs": ["get", "patch"]},
    {"name": "pods", "namespaced": True, "kind": "Pod", "verbs": ["get", "list"]},
    {
        "name": "pods/eviction",
        "namespaced": True,
        "group": "policy",
        "version": "v1",
        "kind": "Eviction",
        "verbs": ["create"],
    },
]
_KEPT = {
    "kind": "Status",
    "status": "Failure",
    "reason": "TooManyRequests",
    "message": "Cannot evict pod as it would violate the pod's disruption budget.",
    "code": 429,
}


def merged(target: Any, patch: Any) -> Any:
    """Return the target after a merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


class KubernetesApi:
    """The server's objects."""

    def __init__(self, node: str) -> None:
        self.node: dict[str, Any] = {
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {"name": node, "uid": "1"},
            "spec": {},
        }
        self.pods: dict[str, dict[str, Any]] = {}
        self.looks: dict[str, int] = {}
        self.evicted: set[str] = set()
        #: Pods that a disruption budget keeps.
        self.kept: set[str] = set()

    def add_pod(self, name: str, *, looks: int = 0, controlled: bool = True) -> None:
        """Add a pod that is gone after it was evicted and looked at this often."""
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "2"}
        metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
        if controlled:
            metadata["ownerReferences"] = [{**owner, "controller": True}]
        self.pods[name] = {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": metadata,
            "spec": {"nodeName": self.node["metadata"]["name"], "containers": []},
            "status": {"phase": "Running"},
        }
        self.looks[name] = looks

    def get(self, path: str) -> dict[str, Any] | None:
        """Return the object at a path, None where there is none."""
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": []}
        if path == "/api/v1":
            return {"kind": "APIResourceList", "groupVersion": "v1", "resources": _RESOURCES}
        if path == "/api/v1/pods":
            return {"kind": "PodList", "apiVersion": "v1", "items": list(self.pods.values())}
        if path == NODE_PATH + self.node["metadata"]["name"]:
            return self.node
        name = path.removeprefix(POD_PATH)
        if name in self.evicted:
            self.looks[name] -= 1
            if self.looks[name] < 0:
                self.pods.pop(name, None)
        return self.pods.get(name)

    def evict(self, name: str) -> bool:
        """Have a pod end; return whether it is there."""
        self.evicted.add(name)
        return name in self.pods


def _handler(api: KubernetesApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(api.get(urlsplit(self.path).path))

        def do_PATCH(self) -> None:
            found = api.get(urlsplit(self.path).path)
            if found is api.node:
                api.node = merged(api.node, self._body())
                found = api.node
            self._answer(found)

        def do_POST(self) -> None:
            self._body()
            name = urlsplit(self.path).path.removeprefix(POD_PATH).removesuffix("/eviction")
            if name in api.kept:
                self._answer(_KEPT, 429)
            else:
                self._answer({"kind": "Status", "status": "Success"} if api.evict(name) else None)

        def _body(self) -> Any:
            return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, found: dict[str, Any] | None, code: int = 200) -> None:
            missing = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
            name = self.path.rpartition("/")[2]
            data = json.dumps(found or {**missing, "message": f'"{name}" not found'}).encode()
            self.send_response(code if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def served(api: KubernetesApi) -> Iterator[str]:
    """Serve the objects on loopback; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(api))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
