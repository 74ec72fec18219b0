"""The explorer as its page meets it, without a browser: POST, JSON, a cookie."""

import json

from starlette.testclient import TestClient

from clipjax.explore.guard import Guard
from clipjax.explore.server import Explorer


class Page:
    """What the page does: POST, JSON, a cookie."""

    def __init__(self, opened, before=None):
        self.explorer = Explorer(opened, ahead=False, before=before)
        self.client = TestClient(Guard(self.explorer.app(), "secret"), base_url="http://127.0.0.1:8000")
        assert self.client.get("/?token=secret").status_code == 200

    def ask(self, api, status=200, **body):
        """The answer to the page's JSON, which its browser writes in ASCII."""
        headers = {"content-type": "application/json"}
        answer = self.client.post(f"/api/{api}", content=json.dumps(body), headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.headers["content-type"] == "application/json" else answer.content

    def refused(self, api, **body):
        """The one line of a refusal."""
        line = self.ask(api, 400, **body)["error"]
        assert "\n" not in line
        assert 10 < len(line) <= 400
        return line


def with_child(found):
    return found | {"name": "mine+child", "classes": [*found["classes"], {"name": "child", "sets": ["person"]}]}
