"""`python -m heft.doctor`: the same as `heft doctor`."""

import sys

from heft.doctor import main

sys.exit(main(sys.argv[1:]))
