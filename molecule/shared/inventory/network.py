#!/usr/bin/env python3
"""The part of the inventory that is the scenario's own network: one for each checkout and scenario.

A program, so that it is worked out once in a run. As a template it was half of all that is compiled in a
deploy, for it is in the address that every task of every host connects to.
"""

from __future__ import annotations

import hashlib
import json
import os


def digest(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


def main() -> None:
    # What all names of containers begin with.
    network = f"fleet-{digest(os.environ.get('MOLECULE_SCENARIO_DIRECTORY', ''))[:8]}"
    number = int(digest(network)[:6], 16)
    variables = {
        "molecule_network": network,
        # 10.128-254.x: fixed, so that inventories can name addresses.
        "molecule_subnet": f"10.{128 + number % 127}.{number // 127 % 256}",
    }
    print(json.dumps({"all": {"vars": variables}, "_meta": {"hostvars": {}}}))


if __name__ == "__main__":
    main()
