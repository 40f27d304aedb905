"""The system calls that are refused in the sandbox, with their numbers.

Numbers from the kernel's `arch/x86/entry/syscalls/syscall_64.tbl` and, for aarch64,
`include/uapi/asm-generic/unistd.h`; None where that architecture has no such call. What only a
capability permits is not listed: the process holds none.
"""

from __future__ import annotations

from msgspec import Struct

Numbers = tuple[int | None, int | None]
"""On x86_64 and on aarch64."""

NEWEST = 462
"""The newest call known here, mseal; later ones are answered ENOSYS, which callers expect."""

REFUSED: dict[str, Numbers] = {
    # A way out to the network or to another process's socket. Connected pairs remain: see CHECKED.
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    # A file that was passed on and not taken is held by no process, so nothing measures it.
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    # New processes and programs; clone is in CHECKED.
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    # Other processes of the same user: their memory, their descriptors, their fate.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "perf_event_open": (298, 241),
    # Wide doors into the kernel, of which models need none.
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "syslog": (103, 116),
    "modify_ldt": (154, None),
    "personality": (135, 92),
    # Namespaces, in which a capability could be had again, and mounts.
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # Watching what others do with their files.
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "fanotify_init": (300, 262),
    # Memory that no resident size shows, or that outlives the process.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # Extended attributes, which Landlock leaves alone.
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
}

PRETENDED: dict[str, Numbers] = {
    # Landlock leaves modes, owners and times alone, so these could reach any file of the user.
    # Libraries that copy files call them and take a refusal for failure: they are answered 0 and
    # do nothing.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "utimensat": (280, 88),
    "futimesat": (261, None),
    # What others have written, too, would have to reach the disk before anybody goes on.
    "sync": (162, 81),
    "syncfs": (306, 267),
}

UNKNOWN: dict[str, Numbers] = {
    # Its flags lie in memory, where a filter cannot look; glibc falls back to clone.
    "clone3": (435, 435),
}

CLONE_THREAD = 0x10000
AF_UNIX = SOCK_STREAM = 1
SOCK_TYPE_MASK = 0xF
WORD = 0xFFFFFFFF
F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY = 8, 10, 15, 1024, 1026
TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP = 0x5412, 0x541C, 0x8901, 0x8902
PR_SET_PDEATHSIG = 1


class Check(Struct, frozen=True):
    """A condition on an argument: its low 32 bits, masked, must (or must not) be among values."""

    argument: int
    values: tuple[int, ...]
    mask: int = WORD
    among: bool = True


LISTENING = frozenset({"socket", "bind", "listen"})
"""What a process needs besides that may listen on a Unix socket; see `checked` for the first."""


def checked(pid: int, listens: bool = False) -> dict[str, tuple[Numbers, tuple[Check, ...]]]:
    """Calls that are let through where every check holds, and refused else.

    Args:
        pid: of the process that is bound; it may still signal itself.
        listens: whether it may listen on Unix sockets.
    """
    own = (Check(0, (0, pid)),)
    stream = (Check(0, (AF_UNIX,)), Check(1, (SOCK_STREAM,), mask=SOCK_TYPE_MASK))
    return {
        **({"socket": (REFUSED["socket"], stream)} if listens else {}),
        "clone": ((56, 220), (Check(0, (CLONE_THREAD,), mask=CLONE_THREAD),)),
        # A stream pair reaches only its other end; a datagram one could be sent to any address.
        "socketpair": ((53, 199), stream),
        "kill": ((62, 129), (Check(0, (pid,)),)),
        "tgkill": ((234, 131), (Check(0, (pid,)),)),
        "prlimit64": ((302, 261), own),
        "setpriority": ((141, 140), (Check(0, (0,)), Check(1, (0, pid)))),
        "ioprio_set": ((251, 30), (Check(0, (1,)), Check(1, (0, pid)))),
        "sched_setaffinity": ((203, 122), own),
        "sched_setscheduler": ((144, 119), own),
        "sched_setparam": ((142, 118), own),
        "sched_setattr": ((314, 274), own),
        # Ways to have the kernel signal somebody else.
        "fcntl": (
            (72, 25),
            (Check(1, (F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY), among=False),),
        ),
        "ioctl": ((16, 29), (Check(1, (TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP), among=False),)),
        # It must not outlive its parent.
        "prctl": ((157, 167), (Check(0, (PR_SET_PDEATHSIG,), among=False),)),
    }
