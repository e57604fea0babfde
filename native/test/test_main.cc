// Runs the tests of one executable, one after the other. Apart from check.cc, so that a program with its own main can use
// that.

#include "check.h"

int main() {
  // An executable that runs nothing has lost its tests.
  return warren::test::run_all() > 0 ? 0 : 1;
}
