// A steady flow of small datagrams with sequence numbers, both ways between two of these: what was lost, what came out of order and for
// how long nothing came is worked out from what they print (flow.ts). IPv4 only; both ends share a clock, being namespaces of
// one machine.
//
//   flow ADDRESS PORT INTERVAL-US begin|answer
//
// Sends to ADDRESS:PORT from the same port. `answer`: is silent until the first datagram has come. Prints "ready", "answered" at
// the first arrival, and after SIGTERM, once what was still on the way had time to come, one line of JSON:
//
//   {"sent":[[SEQUENCE,US],…],"arrived":[[SEQUENCE,US],…],"unsent":N}      US: since the epoch

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAYLOAD = 32, EVENTS_MAX = 400000, LATECOMERS_US = 700000 };

struct event {
  uint32_t sequence;
  int64_t at;
};

static volatile sig_atomic_t stopped = 0;
static struct event sent[EVENTS_MAX];
static struct event arrived[EVENTS_MAX];

static void on_signal(int number) {
  (void)number;
  stopped = 1;
}

static int64_t clock_us(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void print_events(const char *name, const struct event *events, size_t count, int64_t epoch) {
  printf("\"%s\":[", name);
  for (size_t i = 0; i < count; i++) {
    printf("%s[%u,%lld]", i == 0 ? "" : ",", events[i].sequence, (long long)(events[i].at + epoch));
  }
  printf("]");
}

int main(int argc, char **argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: flow ADDRESS PORT INTERVAL-US begin|answer\n");
    return 2;
  }
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGTERM, &action, NULL);
  // Whoever started it is gone: nobody would end it.
  alarm(600);
  const int64_t interval = atoll(argv[3]);
  int sending = strcmp(argv[4], "begin") == 0;
  struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
  if (interval < 100 || inet_pton(AF_INET, argv[1], &peer.sin_addr) != 1) return 2;
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) die("socket");
  const struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = peer.sin_port};
  if (bind(fd, (const struct sockaddr *)&own, sizeof own) != 0) die("bind");

  // Monotonic throughout, so that a clock that is set moves nothing; told as wall time, as the daemons tell theirs.
  const int64_t epoch = clock_us(CLOCK_REALTIME) - clock_us(CLOCK_MONOTONIC);
  size_t sent_count = 0;
  size_t arrived_count = 0;
  unsigned long long unsent = 0;
  uint32_t sequence = 0;
  puts("ready");
  fflush(stdout);
  int64_t next = clock_us(CLOCK_MONOTONIC);
  int64_t end = INT64_MAX;
  for (;;) {
    int64_t now = clock_us(CLOCK_MONOTONIC);
    if (stopped && end == INT64_MAX) {
      sending = 0;
      end = now + LATECOMERS_US;
    }
    if (now >= end) break;
    if (sending && now >= next) {
      unsigned char payload[PAYLOAD] = {0};
      memcpy(payload, &sequence, sizeof sequence);
      // No route, no room: it is counted as sent, and so as lost.
      if (sendto(fd, payload, sizeof payload, 0, (const struct sockaddr *)&peer, sizeof peer) < 0) unsent++;
      if (sent_count < EVENTS_MAX) sent[sent_count++] = (struct event){sequence, now};
      sequence++;
      // What was missed is not made up for: a burst would hide a gap.
      next = now >= next + interval ? now + interval : next + interval;
    }
    const int64_t until = sending ? next : (end < now + 100000 ? end : now + 100000);
    const int64_t wait = until > now ? until - now : 0;
    const struct timespec limit = {.tv_sec = wait / 1000000, .tv_nsec = wait % 1000000 * 1000};
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    if (ppoll(&readable, 1, &limit, NULL) <= 0) continue;
    for (;;) {
      unsigned char payload[PAYLOAD];
      const ssize_t length = recv(fd, payload, sizeof payload, 0);
      // An error that the network told is no arrival either.
      if (length < 0 && errno != EAGAIN && errno != EINTR) continue;
      if (length < 0) break;
      if (length != PAYLOAD) continue;
      uint32_t of = 0;
      memcpy(&of, payload, sizeof of);
      if (arrived_count == 0) {
        puts("answered");
        fflush(stdout);
        if (!sending && !stopped) {
          sending = 1;
          next = clock_us(CLOCK_MONOTONIC);
        }
      }
      if (arrived_count < EVENTS_MAX) arrived[arrived_count++] = (struct event){of, clock_us(CLOCK_MONOTONIC)};
    }
  }
  printf("{");
  print_events("sent", sent, sent_count, epoch);
  printf(",");
  print_events("arrived", arrived, arrived_count, epoch);
  printf(",\"unsent\":%llu}\n", unsent);
  fflush(stdout);
  return 0;
}
