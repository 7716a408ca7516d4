"""What an attacker tries, as Python: an attempt that raises nothing has succeeded.

TARGET is the process id of a process of root's.
"""

PREPARE = """
import ctypes, fcntl, os, resource, signal, socket
from pathlib import Path
libc = ctypes.CDLL(None, use_errno=True)
def did(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
"""

# Against the engine and what belongs to it, by any user.
ON_THE_ENGINE = {
    "kill it": "os.kill(TARGET, signal.SIGKILL)",
    "stop it": "os.kill(TARGET, signal.SIGSTOP)",
    "trace it": "did(libc.ptrace(0x4206, TARGET, 0, 0))",
    "read its memory": "open(f'/proc/{TARGET}/mem', 'rb')",
    "read its environment": "open(f'/proc/{TARGET}/environ', 'rb').read()",
    "list its descriptors": "os.listdir(f'/proc/{TARGET}/fd')",
    "open its stream": "open(f'/proc/{TARGET}/fd/1', 'wb')",
    "take its descriptor": "did(libc.syscall(438, os.pidfd_open(TARGET), 1, 0))",
    "enter its namespace": "did(libc.setns(os.open(f'/proc/{TARGET}/ns/net', 0), 0))",
    "change its limits": "resource.prlimit(TARGET, resource.RLIMIT_CPU, (1, 1))",
    "list the slots": "os.listdir('/run/tccap')",
    "open the slots": "open('/run/tccap/captures', 'rb')",
    "remove the slots": "os.unlink('/run/tccap/captures')",
    "rename their folder": "os.rename('/run/tccap', '/run/tccap-away')",
    "list compiled programs": "os.listdir('/var/cache/tccap/bpf')",
    "plant a program": "open('/var/cache/tccap/bpf/planted', 'w')",
    "plant an answer": "open('/var/cache/tccap/tls/planted', 'w')",
}

# From inside a sandbox: what somebody would try who has broken into what runs there.
IN_A_SANDBOX = {
    "read a secret file": "open('/etc/shadow').read()",
    "write a file": "open('/tmp/made-by-an-attack', 'w')",
    "write where all may": "open('/dev/shm/made-by-an-attack', 'w')",
    "make a folder": "os.mkdir('/tmp/made-by-an-attack')",
    "remove a file": "os.unlink('/tmp/kept-from-an-attack')",
    "signal a process": "os.kill(TARGET, 0)",
    "trace a process": "did(libc.ptrace(0x4206, TARGET, 0, 0))",
    "read a process's memory": "open(f'/proc/{TARGET}/mem', 'rb')",
    "copy a process's memory": "did(libc.process_vm_readv(TARGET, 0, 0, 0, 0, 0))",
    "take a descriptor": "did(libc.syscall(438, 0, 1, 0))",
    "be root": "os.setuid(0)",
    "change the group": "os.setgid(0)",
    "start a program": "os.execv('/bin/true', ['true'])",
    "fork": "os.fork()",
    "make a user namespace": "did(libc.unshare(0x10000000))",
    "make a network namespace": "did(libc.unshare(0x40000000))",
    "clone into a namespace": "did(libc.syscall(56, 0x10000011, 0, 0, 0, 0))",
    "enter a namespace": "did(libc.setns(0, 0))",
    "mount": "did(libc.mount(b'none', b'/mnt', b'tmpfs', 0, None))",
    "change the root": "os.chroot('/tmp')",
    "see packets": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "send raw packets": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)",
    "load a program": "did(libc.syscall(321, 5, bytes(128), 128))",
    "open a map by its id": "did(libc.syscall(321, 14, bytes(128), 128))",
    "watch events": "did(libc.syscall(298, bytes(128), 0, -1, -1, 0))",
    "use io_uring": "did(libc.syscall(425, 1, bytes(128)))",
    "use userfaultfd": "did(libc.syscall(323, 1))",
    "add a key": "did(libc.syscall(248, b'user', b'x', b'y', 1, -3))",
    "load a module": "did(libc.syscall(175, b'', 0, b''))",
    "type into a terminal": "fcntl.ioctl(0, 0x5412, b'x')",
    "be dumpable again": "did(libc.prctl(4, 1, 0, 0, 0))",
    "schedule a process": "os.sched_setscheduler(TARGET, 1, os.sched_param(1))",
    "lower a process": "os.setpriority(os.PRIO_PROCESS, TARGET, 19)",
    "look into a folder": "os.listdir('/root')",
    "send a descriptor": (
        "pair = socket.socketpair(); socket.send_fds(pair[0], [b'x'], [0])"
    ),
    "open the kernel's memory": "open('/dev/mem', 'rb')",
    "make a device": "os.mknod('/tmp/made-by-an-attack', 0o020600, os.makedev(1, 1))",
    "own a file": "os.chown('/tmp/kept-from-an-attack', 4711, 4711)",
    "open a file by its handle": "did(libc.syscall(304, 0, bytes(64), 0))",
    "start a thread": "import threading\nthreading.Thread(target=print).start()",
    "rename the host": "socket.sethostname('attack')",
    "read the kernel's log": "did(libc.klogctl(3, bytes(64), 64))",
    "raise a limit": "resource.setrlimit(resource.RLIMIT_NPROC, (99, 99))",
    "call as x32": "did(libc.syscall(0x40000000 | 39))",
}
# The attempts that succeed for root without a sandbox, and do no harm there. They show
# that the sandbox, and not a mistake here, is what stops the others.
WORK_FOR_ROOT = (
    *("read a secret file", "write a file", "make a folder", "remove a file"),
    *("signal a process", "trace a process", "read a process's memory"),
    *("be root", "start a program", "fork", "see packets", "make a network namespace"),
    *("use io_uring", "raise a limit", "be dumpable again"),
    *("schedule a process", "lower a process", "make a device", "own a file"),
    *("send a descriptor", "start a thread", "look into a folder"),
)
