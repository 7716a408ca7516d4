"""The numbers that a capture's options put into its programs: bpf/options.h."""

from enum import IntEnum


class Option(IntEnum):
    """The key of a number (bpf/patch.h); what each means is in bpf/options.h."""

    PACKET_FILTER_HEAD = 1
    HAS_WHOLE_FILTER = 2
    SNAPLEN = 3
    ATTRIBUTION = 4
    LABELS = 5
    LABEL_TIDS = 6
    TIDS_ANY_USER = 7
    TIDS_USER = 8
    FILTER_PIDS = 9
    FILTER_UIDS = 10
    FILTER_COMMS = 11
    FILTER_CGROUPS = 12
    FILTER_PROCESSES = 13
    FOLLOW_CHILDREN = 14
    TLS = 15
    QUIC = 16
    TLS_ANY_USER = 17
    TLS_USER = 18
    TLS_PTRACE_RULE = 19
    TLS_GROUP = 20
    TLS_USER_NAMESPACE = 21
    RING_LEN = 22
    RING_CHUNK_SHIFT = 23
    NAMESPACE_ID = 24
    TLS_SLOT = 25
