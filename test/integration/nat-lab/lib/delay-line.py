# A cable that takes its time: every frame that comes in at one of two devices leaves at the other a constant time later. For
# kernels without netem. Arguments: DEVICE DEVICE MILLISECONDS; ends with its standard input.

import collections
import select
import socket
import sys
import time

FRAME_BYTES_MAX = 65_536
QUEUE_FRAMES_MAX = 20_000
ETH_P_ALL = 0x0003


def port(device):
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    opened.bind((device, 0))
    opened.setblocking(False)
    return opened


ports = [port(device) for device in sys.argv[1:3]]
delay = float(sys.argv[3]) / 1000
queue = collections.deque()
print("ready", flush=True)

while True:
    wait = max(0, queue[0][0] - time.monotonic()) if queue else None
    readable, _, _ = select.select([*ports, sys.stdin], [], [], wait)
    if sys.stdin in readable and not sys.stdin.buffer.read1(1):
        break
    now = time.monotonic()
    for at, one in enumerate(ports):
        if one not in readable:
            continue
        try:
            while True:
                frame, sender = one.recvfrom(FRAME_BYTES_MAX)
                if sender[2] != socket.PACKET_OUTGOING and len(queue) < QUEUE_FRAMES_MAX:
                    queue.append((now + delay, ports[1 - at], frame))
        except (BlockingIOError, OSError):
            pass
    while queue and queue[0][0] <= time.monotonic():
        _, out, frame = queue.popleft()
        try:
            out.send(frame)
        except OSError:
            pass  # A full queue or a device that is down loses it, as a cable does.
