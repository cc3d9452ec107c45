"""Firefox without a screen, driven by its own protocol (Marionette), as a person drives it: keys, mouse, files."""

import json
import os
import shutil
import socket
import subprocess
import time

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
KEYS = {
    "Shift": "\ue008",
    "Alt": "\ue00a",
    "Enter": "\ue007",
    "Escape": "\ue00c",
    "ArrowDown": "\ue015",
    "ArrowUp": "\ue013",
}
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # W3C WebDriver, section 12


class Firefox:
    """One window of 1200 × 800 pixels, whose downloads go to a folder."""

    def __init__(self, profile, downloads):
        profile.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        wanted = {
            "marionette.port": port, "browser.download.folderList": 2, "browser.download.dir": str(downloads),
            "browser.download.useDownloadDir": True, "browser.download.alwaysOpenPanel": False,
            "datareporting.policy.dataSubmissionEnabled": False, "app.update.disabledForTesting": True,
            "browser.shell.checkDefaultBrowser": False, "network.captive-portal-service.enabled": False,
        }  # fmt: skip
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in wanted.items()]
        (profile / "user.js").write_text("\n".join(lines))
        self.process = subprocess.Popen(
            [FIREFOX, "--headless", "--marionette", "--no-remote", "--profile", str(profile)],
            env=os.environ | {"HOME": str(profile), "MOZ_DISABLE_CONTENT_SANDBOX": "1"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.number = 0
        deadline = time.monotonic() + 90
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
                break
            except ConnectionRefusedError:
                assert self.process.poll() is None, "Firefox ended by itself"
                assert time.monotonic() < deadline, "Firefox does not answer"
                time.sleep(0.1)
        self._answer()  # its greeting
        self.call("NewSession", capabilities={"alwaysMatch": {"pageLoadStrategy": "normal"}})
        self.call("SetWindowRect", x=0, y=0, width=1200, height=800)

    def call(self, command, **parameters):
        self.number += 1
        text = json.dumps([0, self.number, f"WebDriver:{command}", parameters])
        self.socket.sendall(f"{len(text.encode())}:{text}".encode())
        _, number, error, result = self._answer()
        assert (number, error) == (self.number, None), error
        return result

    def _answer(self):
        size = b""
        while (byte := self.socket.recv(1)) != b":":
            assert byte, "Firefox closed the connection"
            size += byte
        text = b""
        while len(text) < int(size):
            text += self.socket.recv(int(size) - len(text))
        return json.loads(text)

    def script(self, text):
        """What a script returns; it sees the document, not the page's own variables."""
        return self.call("ExecuteScript", script=text, args=[])["value"]

    def wait(self, text):
        deadline = time.monotonic() + 20
        while not self.script(f"return {text}"):
            assert time.monotonic() < deadline, text
            time.sleep(0.02)

    def element(self, selector):
        return self.call("FindElement", using="css selector", value=selector)["value"][ELEMENT]

    def type(self, selector, text):
        """Into a field; a path into one that takes files."""
        self.call("ElementSendKeys", id=self.element(selector), text=text)

    def click(self, selector):
        self.call("ElementClick", id=self.element(selector))

    def press(self, keys):
        """Keys with a space between; `Shift+1` holds the first."""
        steps = []
        for stroke in keys.split():
            held = [KEYS.get(key, key) for key in stroke.split("+")]
            steps += [{"type": "keyDown", "value": key} for key in held]
            steps += [{"type": "keyUp", "value": key} for key in held[::-1]]
        self.call("PerformActions", actions=[{"type": "key", "id": "keyboard", "actions": steps}])

    def click_at(self, x, y, held=None):
        wait = {"type": "pause"}
        mouse = [{"type": "pointerMove", "x": round(x), "y": round(y)}, {"type": "pointerDown", "button": 0},
                 {"type": "pointerUp", "button": 0}, wait]  # fmt: skip
        keys = (
            [{"type": "keyDown", "value": KEYS[held]}, wait, wait, {"type": "keyUp", "value": KEYS[held]}]
            if held
            else []
        )
        actions = [
            {"type": "key", "id": "keyboard", "actions": keys},
            {"type": "pointer", "id": "mouse", "actions": mouse},
        ]
        self.call("PerformActions", actions=actions[not held :])

    def wheel(self, x, y, delta):
        step = {"type": "scroll", "x": round(x), "y": round(y), "deltaX": 0, "deltaY": delta}
        self.call("PerformActions", actions=[{"type": "wheel", "id": "wheel", "actions": [step]}])

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(timeout=30)
