// Clocks of one process that a test may step, under LD_PRELOAD: the wall clock, as `date -s` and NTP step it, and CLOCK_BOOTTIME
// against CLOCK_MONOTONIC, as a suspend does. Told as the kernel tells it: timers on CLOCK_BOOTTIME that have come due fire, and one on
// CLOCK_REALTIME with TFD_TIMER_CANCEL_ON_SET becomes readable unless all clocks go on alike. Commands are lines in a FIFO,
// milliseconds to add:
//
//   WARREN_TEST_CLOCK=FIFO     "REALTIME BOOTTIME MONOTONIC\n"
//   WARREN_TEST_CLOCK_AHEAD    the same, from the start
//
// What it leaves out: the time stamps of files and sockets, timers of setitimer and timer_create, and clocks of other processes.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { FDS_MAX = 4096 };
enum Kind { NOT_OURS, ON_BOOTTIME, CANCELLED_ON_SET };

static const int64_t kMs = 1000000, kSecond = 1000000000;

static _Atomic int64_t realtime_ns, boottime_ns, monotonic_ns;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static enum Kind kinds[FDS_MAX];
/** As the process sees it; 0 = disarmed. */
static int64_t deadlines[FDS_MAX];

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int64_t offset_of(clockid_t id) {
  if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) return realtime_ns;
  if (id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE) return monotonic_ns;
  return id == CLOCK_BOOTTIME ? boottime_ns : 0;
}

static struct timespec from_ns(int64_t ns) {
  return (struct timespec){.tv_sec = ns / kSecond, .tv_nsec = ns % kSecond};
}

static int64_t to_ns(const struct timespec* time) { return time->tv_sec * kSecond + time->tv_nsec; }

int clock_gettime(clockid_t id, struct timespec* out) {
  static __typeof__(&clock_gettime) real;
  if (real == NULL) real = REAL(clock_gettime);
  const int result = real(id, out);
  const int64_t offset = offset_of(id);
  if (result == 0 && offset != 0) *out = from_ns(to_ns(out) + offset);
  return result;
}

int gettimeofday(struct timeval* out, void* zone) {
  (void)zone;
  struct timespec now;
  const int result = clock_gettime(CLOCK_REALTIME, &now);
  if (result == 0) *out = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
  return result;
}

time_t time(time_t* out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != NULL) *out = now.tv_sec;
  return now.tv_sec;
}

static void note(int fd, enum Kind kind) {
  if (fd < 0 || fd >= FDS_MAX) return;
  pthread_mutex_lock(&lock);
  kinds[fd] = kind;
  deadlines[fd] = 0;
  pthread_mutex_unlock(&lock);
}

int timerfd_create(int clock, int flags) {
  const int nonblock = (flags & TFD_NONBLOCK ? EFD_NONBLOCK : 0) | (flags & TFD_CLOEXEC ? EFD_CLOEXEC : 0);
  // Nothing is timed with it here: what a test can make readable is enough.
  const int fd = clock == CLOCK_REALTIME ? eventfd(0, nonblock) : REAL(timerfd_create)(clock, flags);
  note(fd, clock == CLOCK_REALTIME ? CANCELLED_ON_SET : clock == CLOCK_BOOTTIME ? ON_BOOTTIME : NOT_OURS);
  return fd;
}

/** With the lock held. */
static int arm(int fd) {
  struct itimerspec when = {0};
  if (deadlines[fd] != 0) {
    const int64_t at = deadlines[fd] - boottime_ns;
    when.it_value = from_ns(at < 1 ? 1 : at);
  }
  return REAL(timerfd_settime)(fd, TFD_TIMER_ABSTIME, &when, NULL);
}

int timerfd_settime(int fd, int flags, const struct itimerspec* when, struct itimerspec* before) {
  const enum Kind kind = fd >= 0 && fd < FDS_MAX ? kinds[fd] : NOT_OURS;
  if (kind == CANCELLED_ON_SET) return 0;
  const int64_t at = to_ns(&when->it_value);
  if (kind != ON_BOOTTIME || (at != 0 && (flags & TFD_TIMER_ABSTIME) == 0)) {
    return REAL(timerfd_settime)(fd, flags, when, before);
  }
  pthread_mutex_lock(&lock);
  deadlines[fd] = at;
  const int result = arm(fd);
  pthread_mutex_unlock(&lock);
  return result;
}

int close(int fd) {
  note(fd, NOT_OURS);
  return REAL(close)(fd);
}

struct Step {
  long long realtime_ms, boottime_ms, monotonic_ms;
};

/** False at the end. */
static bool next_step(FILE* commands, struct Step* step) {
  return fscanf(commands, "%lld %lld %lld", &step->realtime_ms, &step->boottime_ms, &step->monotonic_ms) == 3;
}

static void take(const struct Step* step) {
  realtime_ns += step->realtime_ms * kMs;
  boottime_ns += step->boottime_ms * kMs;
  monotonic_ns += step->monotonic_ms * kMs;
}

static void tell(const struct Step* step) {
  const bool set = step->realtime_ms != step->boottime_ms || step->boottime_ms != step->monotonic_ms;
  pthread_mutex_lock(&lock);
  for (int fd = 0; fd < FDS_MAX; fd++) {
    if (kinds[fd] == ON_BOOTTIME) arm(fd);
    if (set && kinds[fd] == CANCELLED_ON_SET) {
      const uint64_t one = 1;
      if (write(fd, &one, sizeof one) < 0) continue;
    }
  }
  pthread_mutex_unlock(&lock);
}

static void* obey(void* path) {
  // For writing too, so that it has no end when nobody writes.
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  FILE* commands = fd < 0 ? NULL : fdopen(fd, "r");
  struct Step step;
  while (commands != NULL && next_step(commands, &step)) {
    take(&step);
    tell(&step);
  }
  return NULL;
}

__attribute__((constructor)) static void begin(void) {
  const char* ahead = getenv("WARREN_TEST_CLOCK_AHEAD");
  struct Step step;
  FILE* said = ahead == NULL ? NULL : fmemopen((void*)ahead, strlen(ahead), "r");
  if (said != NULL && next_step(said, &step)) take(&step);
  if (said != NULL) fclose(said);
  char* path = getenv("WARREN_TEST_CLOCK");
  // Only the program itself: `ip netns exec`, which becomes it, must not take commands out of the FIFO.
  if (path == NULL || strstr(program_invocation_short_name, "node") == NULL) return;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  if (pthread_create(&thread, NULL, obey, path) == 0) pthread_detach(thread);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}
