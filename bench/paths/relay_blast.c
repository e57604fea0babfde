// Loads a relay with datagrams and counts those that it has forwarded, in the place of two daemons: whoever has their addresses and ports is
// them to the relay, until their sessions run out. What the datagrams hold is nothing that anybody could open. IPv4 only.
//
//   relay_blast slot RELAY-PORT                                                 the slot of the next relayed datagram that leaves this host
//   relay_blast send RELAY-ADDRESS RELAY-PORT OWN-PORT SLOT BYTES RUN SECONDS   {"packets":N,"seconds":S}
//   relay_blast receive OWN-PORT BYTES                                          "ready", then the same at SIGTERM
//
// BYTES: of one message, without the 12 bytes of the relayed header. RUN: messages that one call gives to the kernel as one (UDP_SEGMENT), as
// daemons do; 1: sendmmsg, each by itself.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { HEADER = 12, MESSAGE_MAX = 2048, RUN_MAX = 64, BATCH = 64, BUFFER_BYTES = 8 << 20, IP_MIN = 20, UDP_HEADER = 8, SLOT_LIMIT_S = 20 };

static const unsigned char kRelayed[4] = {0x20, 0, 0, 0};
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

static int run_slot(uint16_t relay_port) {
  const int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_ALL));
  if (fd < 0) die("socket");
  alarm(SLOT_LIMIT_S);
  for (;;) {
    unsigned char packet[65536];
    const ssize_t length = recv(fd, packet, sizeof packet, 0);
    if (length < IP_MIN + UDP_HEADER + HEADER || packet[0] >> 4 != 4 || packet[9] != IPPROTO_UDP) continue;
    const size_t ip = (size_t)(packet[0] & 15) * 4;
    if (length < (ssize_t)(ip + UDP_HEADER + HEADER)) continue;
    const unsigned char *udp = packet + ip;
    // What comes in has the port as its source.
    if ((udp[2] << 8 | udp[3]) != relay_port || memcmp(udp + UDP_HEADER, kRelayed, sizeof kRelayed) != 0) continue;
    for (int i = 4; i < HEADER; i++) printf("%02x", udp[UDP_HEADER + i]);
    printf("\n");
    return 0;
  }
}

static int open_udp(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  const int size = BUFFER_BYTES;
  (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  const struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (bind(fd, (const struct sockaddr *)&own, sizeof own) != 0) die("bind");
  return fd;
}

static unsigned char runs[BATCH][RUN_MAX * (HEADER + MESSAGE_MAX)];

static int run_send(int fd, const struct sockaddr_in *relay, const unsigned char *slot, size_t message, int run, double seconds) {
  if (connect(fd, (const struct sockaddr *)relay, sizeof *relay) != 0) die("connect");
  const int datagram = (int)(HEADER + message);
  if (run > 1 && setsockopt(fd, SOL_UDP, UDP_SEGMENT, &datagram, sizeof datagram) != 0) die("UDP_SEGMENT");
  static struct mmsghdr messages[BATCH];
  static struct iovec vectors[BATCH];
  const int batch = run > 1 ? 4 : BATCH;
  for (int i = 0; i < batch; i++) {
    for (int j = 0; j < run; j++) {
      unsigned char *at = runs[i] + (size_t)j * (size_t)datagram;
      memcpy(at, kRelayed, sizeof kRelayed);
      memcpy(at + 4, slot, 8);
      // Transport data of a session that nobody has.
      at[HEADER] = 4;
    }
    vectors[i] = (struct iovec){.iov_base = runs[i], .iov_len = (size_t)run * (size_t)datagram};
    messages[i].msg_hdr.msg_iov = &vectors[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  unsigned long long packets = 0;
  const double start = now_seconds();
  double end = start;
  while (end - start < seconds && !stopped) {
    for (int round = 0; round < 16; round++) {
      const int sent = sendmmsg(fd, messages, (unsigned)batch, 0);
      if (sent < 0 && errno != EINTR && errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED) die("sendmmsg");
      if (sent > 0) packets += (unsigned long long)sent * (unsigned long long)run;
    }
    end = now_seconds();
  }
  print_result(packets, end - start);
  return 0;
}

static int run_receive(int fd, size_t message) {
  const int on = 1;
  if (setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on) != 0) die("UDP_GRO");
  const size_t datagram = HEADER + message;
  unsigned long long packets = 0;
  double first = 0;
  double last = 0;
  puts("ready");
  fflush(stdout);
  while (!stopped) {
    static unsigned char buffer[65536];
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    if (poll(&readable, 1, 100) <= 0) continue;
    for (;;) {
      const ssize_t length = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
      if (length <= 0) break;
      // Of a run all are alike, and anything else is no message of ours.
      if ((size_t)length % datagram != 0 || memcmp(buffer, kRelayed, sizeof kRelayed) != 0) continue;
      last = now_seconds();
      if (packets == 0) first = last;
      packets += (unsigned long long)length / datagram;
    }
  }
  print_result(packets, last - first);
  return 0;
}

static int usage(void) {
  fprintf(stderr, "usage: relay_blast slot RELAY-PORT | send RELAY-ADDRESS RELAY-PORT OWN-PORT SLOT BYTES RUN SECONDS | receive OWN-PORT BYTES\n");
  return 2;
}

int main(int argc, char **argv) {
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGTERM, &action, NULL);
  if (argc == 3 && strcmp(argv[1], "slot") == 0) return run_slot((uint16_t)atoi(argv[2]));
  // Whoever started it is gone: nobody would end it.
  alarm(600);
  if (argc == 4 && strcmp(argv[1], "receive") == 0) {
    const size_t message = (size_t)atoi(argv[3]);
    return message > MESSAGE_MAX ? usage() : run_receive(open_udp((uint16_t)atoi(argv[2])), message);
  }
  if (argc != 9 || strcmp(argv[1], "send") != 0) return usage();
  struct sockaddr_in relay = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[3]))};
  unsigned char slot[8];
  if (inet_pton(AF_INET, argv[2], &relay.sin_addr) != 1 || strlen(argv[5]) != 2 * sizeof slot) return usage();
  for (size_t i = 0; i < sizeof slot; i++) {
    unsigned byte = 0;
    if (sscanf(argv[5] + 2 * i, "%2x", &byte) != 1) return usage();
    slot[i] = (unsigned char)byte;
  }
  const size_t message = (size_t)atoi(argv[6]);
  const int run = atoi(argv[7]);
  if (message < 32 || message > MESSAGE_MAX || run < 1 || run > RUN_MAX || (size_t)run * (HEADER + message) > 65507) return usage();
  return run_send(open_udp((uint16_t)atoi(argv[4])), &relay, slot, message, run, atof(argv[8]));
}
