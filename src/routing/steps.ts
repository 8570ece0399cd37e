/** Work that may be left between any two of its steps, and gone on with later: each is a fraction of a second at worst. */
export type Steps<T> = Generator<undefined, T>;

/** All of it at once. */
export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}
