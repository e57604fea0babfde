// A small UDP source and sink for the bench: sendmmsg and recvmmsg in batches, no segmentation offload, so that every
// packet passes the tunnel as a packet of its own. Prints one line of JSON. IPv4 only; not a general tool.
//
//   udp_blast send ADDRESS PORT PAYLOAD-BYTES SECONDS     {"packets":N,"seconds":S}
//   udp_blast receive ADDRESS PORT                        "ready", then the same at SIGTERM, from first to last packet

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, PAYLOAD_MAX = 2048, BUFFER_BYTES = 8 << 20 };

static volatile sig_atomic_t stopped = 0;

static void on_signal(int number) {
  (void)number;
  stopped = 1;
}

static double now_seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void print_result(unsigned long long packets, double seconds) {
  printf("{\"packets\":%llu,\"seconds\":%.6f}\n", packets, seconds);
  fflush(stdout);
}

static void prepare(struct mmsghdr *messages, struct iovec *vectors, unsigned char (*buffers)[PAYLOAD_MAX], size_t length) {
  for (int i = 0; i < BATCH; i++) {
    vectors[i].iov_base = buffers[i];
    vectors[i].iov_len = length;
    messages[i].msg_hdr.msg_iov = &vectors[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
}

static struct mmsghdr messages[BATCH];
static struct iovec vectors[BATCH];
static unsigned char buffers[BATCH][PAYLOAD_MAX];

static void run_send(int fd, const struct sockaddr_in *address, size_t payload, double seconds) {
  if (connect(fd, (const struct sockaddr *)address, sizeof *address) != 0) die("connect");
  prepare(messages, vectors, buffers, payload);
  unsigned long long packets = 0;
  const double start = now_seconds();
  double end = start;
  while (end - start < seconds && !stopped) {
    for (int round = 0; round < 16; round++) {
      const int sent = sendmmsg(fd, messages, BATCH, 0);
      if (sent < 0 && errno != EINTR && errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED) die("sendmmsg");
      if (sent > 0) packets += (unsigned long long)sent;
    }
    end = now_seconds();
  }
  print_result(packets, end - start);
}

static void run_receive(int fd, const struct sockaddr_in *address) {
  const struct timeval limit = {.tv_sec = 0, .tv_usec = 100000};
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0) die("SO_RCVTIMEO");
  if (bind(fd, (const struct sockaddr *)address, sizeof *address) != 0) die("bind");
  prepare(messages, vectors, buffers, PAYLOAD_MAX);
  puts("ready");
  fflush(stdout);
  unsigned long long packets = 0;
  double first = 0;
  double last = 0;
  while (!stopped) {
    const int received = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
    if (received < 0 && errno != EAGAIN && errno != EINTR) die("recvmmsg");
    if (received <= 0) continue;
    last = now_seconds();
    if (packets == 0) first = last;
    packets += (unsigned long long)received;
  }
  print_result(packets, last - first);
}

int main(int argc, char **argv) {
  const int sending = argc == 6 && strcmp(argv[1], "send") == 0;
  const int receiving = argc == 4 && strcmp(argv[1], "receive") == 0;
  if (!sending && !receiving) {
    fprintf(stderr, "usage: udp_blast send ADDRESS PORT PAYLOAD-BYTES SECONDS | udp_blast receive ADDRESS PORT\n");
    return 2;
  }
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGTERM, &action, NULL);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[3]))};
  if (inet_pton(AF_INET, argv[2], &address.sin_addr) != 1) {
    fprintf(stderr, "not an IPv4 address: %s\n", argv[2]);
    return 2;
  }
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  // Large buffers, so that what is counted as lost was lost by the tunnel. Needs CAP_NET_ADMIN; without, the default.
  const int size = BUFFER_BYTES;
  (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  if (sending) {
    const size_t payload = (size_t)atoi(argv[4]);
    if (payload > PAYLOAD_MAX) return 2;
    run_send(fd, &address, payload, atof(argv[5]));
  } else {
    run_receive(fd, &address);
  }
  close(fd);
  return 0;
}
