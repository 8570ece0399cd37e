import { type DestinationStream, pino } from 'pino';

/** Beyond this many characters the lines of a turn are written before it ends. */
const MOST_HELD = 8 * 1024;

/**
 * Where log lines go: those of one turn of the event loop in one write, since a commit that answers thirty mails writes
 * thirty lines, each of which costs a system call. What ends the process in its tracks takes the lines of that turn along.
 */
export function logLines(fd: number): DestinationStream {
  // Not its own buffer: to write that at once it has the disk flushed.
  const file = pino.destination({ dest: fd, sync: true });
  let held = '';
  const write = () => {
    const lines = held;
    held = '';
    if (lines !== '') file.write(lines);
  };
  process.once('exit', write);
  return {
    write(line) {
      if (held === '') setImmediate(write);
      held += line;
      if (held.length > MOST_HELD) write();
    },
  };
}
