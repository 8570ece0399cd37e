import { type Command, Option } from 'commander';
import { ROLES } from '../../access/role.js';
import type { Context } from '../context.js';
import { table } from '../io.js';

interface Person {
  readonly name: string;
  readonly role: string;
  readonly disabled: boolean;
}

interface Link {
  readonly signIn: string;
  readonly expiresAt: string;
}

export function addUser(program: Command, context: Context): void {
  const user = program.command('user').description('the people of the tenant');
  user
    .command('list', { isDefault: true })
    .description('all people')
    .action(async () => {
      const { text, body } = await context.client().call<{ items: readonly Person[] }>('/v1/users');
      await context.out.show(text, () => personLines(body.items));
    });
  user
    .command('add')
    .description('add a person and print their one-time sign-in link')
    .argument('<name>')
    .addOption(new Option('--role <role>', 'what they may do').choices(ROLES).makeOptionMandatory())
    .action((name: string, { role }: { role: string }) => link(context, '/v1/users', { name, role }));
  user
    .command('link')
    .description('print a new one-time sign-in link for a person')
    .argument('<name>')
    .action((name: string) => link(context, `${path(name)}/sign-in`, undefined));
  user
    .command('role')
    .description('give a person another role, or let them in again')
    .argument('<name>')
    .addOption(new Option('--role <role>', 'what they may do').choices(ROLES).makeOptionMandatory())
    .action(async (name: string, { role }: { role: string }) => {
      const json = { role, disabled: false };
      const { text, body } = await context.client().call<Person>(path(name), { method: 'PUT', json });
      await context.out.show(text, () => personLines([body]));
    });
  user
    .command('disable')
    .description('let a person in no more, at once')
    .argument('<name>')
    .action(async (name: string) => {
      await context.client().call(path(name), { method: 'DELETE' });
      await context.out.show(JSON.stringify({ name, disabled: true }), () => [`${name} is let in no more`]);
    });
}

function path(name: string): string {
  return `/v1/users/${encodeURIComponent(name)}`;
}

async function link(context: Context, at: string, json: unknown): Promise<void> {
  const { text, body } = await context.client().call<Link>(at, { method: 'POST', json });
  await context.out.show(text, () => [body.signIn, `(works once, until ${body.expiresAt})`]);
}

function personLines(people: readonly Person[]): string[] {
  return table(
    ['person', 'role', ''],
    people.map(({ name, role, disabled }) => [name, role, disabled ? 'disabled' : '']),
  );
}
