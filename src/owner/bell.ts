/** Something to wait for that others ring; a ring while nobody waits is not lost. */
export interface Bell {
  ring(): void;
  /** Until the next ring, at most so many milliseconds. */
  wait(ms: number): Promise<void>;
}

export function createBell(): Bell {
  let rung = false;
  let waiting: (() => void) | null = null;
  return {
    ring() {
      rung = true;
      waiting?.();
    },
    async wait(ms) {
      if (!rung) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, ms);
          waiting = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      waiting = null;
      rung = false;
    },
  };
}
