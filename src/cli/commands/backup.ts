import type { Command } from 'commander';
import type { BackupOptions, Taken } from '../../app/backup.js';
import type { Context } from '../context.js';
import { UsageError } from '../failure.js';
import { count } from '../io.js';
import { atTheDatabase } from '../machine.js';

interface Options {
  readonly force?: true;
}

export function addBackup(program: Command, { io, out }: Context): void {
  program
    .command('backup')
    .description(
      "write everything Waybill keeps into one file, while it runs or not; on Waybill's own machine, with the settings it starts with",
    )
    .argument('<file>', 'where to; - is stdout. It holds secrets, and is readable for you alone')
    .option('--force', 'replace the file if it is there')
    .action(async (file: string, options: Options) => {
      const toStdout = file === '-';
      if (toStdout && io.stdout.isTTY) throw new UsageError('a backup is no text: send stdout to a file or a pipe');
      const shown = out.progress('rows backed up', undefined);
      const progress: BackupOptions['progress'] = ({ table, place, tables, rows, bytes }) =>
        shown.update(rows, `, ${megabytes(bytes)}; table ${place} of ${tables}, ${table}`);
      const { backUp } = await import('../../app/backup.js');
      const taken = await atTheDatabase(io, (deps) =>
        backUp(deps, { to: toStdout ? io.stdout : file, force: options.force === true, progress }),
      ).finally(() => shown.end());
      // Nothing but the backup may go to stdout with it.
      if (toStdout) return out.note(line(taken));
      await out.show(JSON.stringify({ file, ...described(taken) }), () => [`${line(taken)}: ${file}`]);
    });
}

function line({ header, rows, bytes }: Taken): string {
  return `backed up ${count(header.messages)} messages (${count(rows)} rows, ${megabytes(bytes)}) as of ${header.takenAt}`;
}

function described({ header, tables, rows, bytes }: Taken): object {
  const { takenAt, product, installation, epoch, messages } = header;
  return { takenAt, product, installation, epoch, messages, tables, rows, bytes };
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
