// Waiting for a condition with a deadline, instead of sleeping for luck. The probe is asked again and again; a time
// that is part of the behaviour under test ("ten idle seconds") is spelled `pass`.

const POLL_EVERY_MS = 25;

/** Resolves with the first truthy answer of `probe`; throws, naming `what`, when there is none within `deadlineMs`. */
export async function until<T>(
  what: string,
  deadlineMs: number,
  probe: () => Promise<T | false | null | undefined> | T | false | null | undefined,
): Promise<T> {
  const started = performance.now();
  for (;;) {
    const answer = await probe();
    if (answer !== false && answer !== null && answer !== undefined) return answer;
    if (performance.now() - started > deadlineMs) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await pass(POLL_EVERY_MS);
  }
}

/** Lets real time pass: for behaviour that is defined by a duration, never to hope that something has finished. */
export function pass(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
