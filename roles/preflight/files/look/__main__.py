"""Look at a laptop and say what Stiefelsystem would do with it, and what is in the way. Changes nothing.

Runs on the laptop out of a zip archive with the agent beside it. Settings come in as JSON in STIEFEL_SETTINGS; a
report goes out as JSON: {"facts": [[title, text]], "impossible": [text], "mend": [text], "know": [text]}.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from types import ModuleType

if sys.version_info < (3, 11):  # noqa: UP036 - what runs here is the laptop's own Python
    OLD = f"This laptop's Python is {platform.python_version()}; 3.11 or newer is needed (Debian 12 or later)."
    print(json.dumps({"facts": [], "impossible": [OLD], "mend": [], "know": []}))
    sys.exit()

# The agent's modules load pycryptodome, which a laptop may lack before it is installed. Here nothing is sealed.
for part in ("Cipher.AES", "Hash.SHA256", "Protocol.KDF"):
    sys.modules.setdefault(f"Crypto.{part}", ModuleType(part))

from stiefel_agent.config import AutokexecConfig  # noqa: E402
from stiefel_preflight.judge import judge  # noqa: E402
from stiefel_preflight.read import read  # noqa: E402
from stiefel_preflight.report import as_json  # noqa: E402

if __name__ == "__main__":
    settings = AutokexecConfig.parse(json.loads(os.environ.get("STIEFEL_SETTINGS") or "{}"))
    print(json.dumps(as_json(judge(read(settings)))))
