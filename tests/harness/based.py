"""heftd whose light machines want a base, as those with a kernel of their own do.

What the engine does about bases can so be seen with machines that start within milliseconds.
"""

from heft.daemon import main
from heft.weights.light.weight import LightWeight

if __name__ == "__main__":
    LightWeight.needs_base = True
    main()
