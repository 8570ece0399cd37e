import { type DestinationStream, pino } from 'pino';

/** Beyond this many bytes the lines of a turn are written before it ends. */
const MOST_HELD = 8 * 1024;

/**
 * Where log lines go: those of one turn of the event loop in one write, since a commit that answers thirty mails writes
 * thirty lines, each of which costs a system call. What ends the process in its tracks takes the lines of that turn along.
 */
export function logLines(fd: number): DestinationStream {
  const file = pino.destination({ dest: fd, sync: true, minLength: MOST_HELD });
  let held = false;
  const flush = () => {
    held = false;
    file.flushSync();
  };
  process.once('exit', flush);
  return {
    write(line) {
      file.write(line);
      if (held) return;
      held = true;
      setImmediate(flush);
    },
  };
}
