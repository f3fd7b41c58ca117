"""The words of the agent's protocol: numbers with a meaning, and the limits that hold both sides.

The contract is docs/agent-protocol.md; `records` and `frames` are its grammar. Pure.
"""

from __future__ import annotations

import enum

from heft.errors import HostError

VERSION = 1
FIRST_TOKEN = b"heft-agent-protocol-first-session"[:32]
"""The token of a guest's first session."""
TOKEN_SIZE = NONCE_SIZE = 32
"""Bytes."""
MOST_PAYLOAD = 1 << 16
"""Bytes of a frame's payload."""
MOST_MESSAGE = 1 << 20
"""Bytes of a message, however many frames it came in."""
MOST_FIELDS = 1 << 13
"""Fields of a record."""
STREAM_ROOM = 1 << 18
"""Bytes of a stream that may be on their way: what the agent keeps of an output."""
MOST_CHANNEL = (1 << 16) - 1
MOST_ID = 128
"""Bytes of a process's ID."""
LINE_ROOM = 2048
"""Bytes that may wait in a serial line: the agent tells how much it has read at each half of it."""
OPENING_ROOM = 1792
"""Bytes that may wait in it besides, of sessions that were begun and not answered."""
HEARD_STEP = 1 << 15
"""Bytes of a serial line after which the agent is told how much was read: a part of what it may
have in the line (131,072)."""
ANSWER = 1 << 15
"""Is set in the operation of an answer."""


class ProtocolError(HostError):
    """The guest said what the protocol does not allow."""


class Kind(enum.IntEnum):
    """What a frame is."""

    DATA = 1
    WINDOW = 2
    STOP = 3
    HELLO = 16
    WELCOME = 17
    MESSAGE = 18
    ERROR = 19
    HEARD = 20


FIN = 1
"""Flag of DATA: the stream ends after it."""
MORE = 1
"""Flag of MESSAGE: the message goes on in the next one."""


class Operation(enum.IntEnum):
    """What is asked of the agent."""

    SETUP = 1
    START = 2
    GO = 3
    SIGNAL = 4
    RESIZE = 5
    FORGET = 6
    DISOWN = 7
    CLOCK = 8
    FREEZE = 9
    PROCESSES = 10
    STATS = 11
    FILES = 12
    SYNC = 13
    REHEARSE = 15
    LIMITS = 16
    STATUS = 20
    PACK = 21
    UNPACK = 22
    CHANGES = 23
    PACK_LAYER = 24
    PACK_ROOT = 25
    CANCEL = 26


class Event(enum.IntEnum):
    """What the agent tells without being asked."""

    EXITED = 64
    OVER = 65


class Status(enum.IntEnum):
    """How a request went."""

    OK = 0
    NOT_FOUND = 1
    INVALID = 2
    FORBIDDEN = 3
    NO_SPACE = 4
    FAILED = 5
    UNSUPPORTED = 6
    START_FAILED = 7
    EXISTS = 8
    CANCELLED = 9


class Phase(enum.IntEnum):
    """Where a process is in its life."""

    HELD = 1
    RUNNING = 2
    EXITED = 3


class MountKind(enum.IntEnum):
    """What a mount in the guest shows."""

    SHARE = 1
    TMPFS = 2


class Tag(enum.IntEnum):
    """What a field of a record means."""

    STATUS = 1
    MESSAGE = 2
    ID = 3
    NUMBER = 4
    VERSION = 5
    NONCE = 6
    TOKEN = 7
    AGENT = 8
    KERNEL = 9
    READY = 10
    FROZEN = 11
    PROCESS = 12
    PHASE = 13
    PID = 14
    EXIT_CODE = 15
    OOM = 16
    FINISHED = 17
    CHANNEL = 18
    STREAM = 19
    BASE = 20
    END = 21
    ENDED = 22
    HOSTNAME = 23
    DOMAINNAME = 24
    CLOCK = 25
    ENTROPY = 26
    DISK = 27
    ROLE = 28
    SELECTOR = 29
    TYPE = 30
    READ_ONLY = 31
    READ_ONLY_ROOT = 32
    NETWORK = 33
    MAC = 34
    ADDRESS = 35
    PREFIX = 36
    GATEWAY = 37
    MTU = 38
    NAME = 39
    FILE = 40
    TARGET = 41
    CONTENT = 42
    MODE = 43
    MOUNT = 44
    KIND = 45
    TAG = 46
    SUBPATH = 47
    OPTIONS = 48
    SHM_SIZE = 49
    SYSCTL = 50
    PIDS_LIMIT = 51
    INIT_SYSTEM = 52
    PRIVILEGED = 53
    ARGV = 54
    ENV = 55
    CWD = 56
    USER = 57
    GROUP = 58
    TTY = 59
    ROWS = 60
    COLUMNS = 61
    STDIN = 62
    STDOUT = 63
    STDERR = 64
    CAPABILITIES = 65
    NO_NEW_PRIVILEGES = 66
    LIMIT = 67
    SOFT = 68
    HARD = 69
    OOM_SCORE_ADJ = 70
    INIT = 71
    HOLD = 72
    WORKLOAD = 73
    PATH = 74
    SIZE = 75
    MTIME = 76
    LINK = 77
    ROW = 78
    PPID = 79
    UID = 80
    STATE = 81
    STARTED = 82
    CPU = 83
    VSIZE = 84
    RSS = 85
    COMMAND = 86
    CPU_USER = 87
    CPU_SYSTEM = 88
    MEMORY_TOTAL = 89
    MEMORY_AVAILABLE = 90
    MEMORY_CACHE = 91
    MEMORY_ANON = 92
    PIDS = 93
    NET_RECEIVED = 94
    NET_SENT = 95
    NET_RECEIVED_PACKETS = 96
    NET_SENT_PACKETS = 97
    DISK_READ = 98
    DISK_WRITTEN = 99
    NO_OVERWRITE_DIR = 101
    MEMORY_LIMIT = 102
