import { setInterval } from 'node:timers';
import { workerData } from 'node:worker_threads';

/*
 * A thread of a child that looks whether the child's parent still lives. The child's own thread can't: it may be in an
 * endless loop, and with its parent dead by kill -9 nobody would end it.
 */
const LOOK_EVERY_MS = 1_000;

setInterval(() => {
  if (process.ppid !== workerData) process.kill(process.pid, 'SIGKILL');
}, LOOK_EVERY_MS);
