import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Steps } from '../src/routing/steps.js';

/** Whoever else lives in this process gets its turn after this; an owner of channels does. */
const TURN_MS = 10;

/** Keeps long work from holding everybody else up. */
export class Turns {
  private begun = performance.now();

  async run<T>(steps: Steps<T>): Promise<T> {
    for (;;) {
      if (performance.now() - this.begun >= TURN_MS) {
        await nextTurn();
        this.begun = performance.now();
      }
      const step = steps.next();
      if (step.done) return step.value;
    }
  }
}
