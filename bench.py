#!/usr/bin/env python3
"""Speed against PyTorch at small shapes; the whole benchmark is `python -m bench`.

python bench.py --dtype {bf16,fp16,fp32} [--device {cpu,cuda,mps}]
"""

import sys

try:
    from bench.small_table import main
except ModuleNotFoundError as error:
    sys.exit(
        f"{error}: build and install the package first (make setup; .venv/bin/python bench.py)"
    )

if __name__ == "__main__":
    main()
