import type { Command } from 'commander';
import type { Context } from '../context.js';
import { type Story, storyLines } from '../story.js';

export function addExplain(program: Command, context: Context): void {
  program
    .command('explain')
    .description('the whole story of a message: how it was read, what every rule made of it, where it went')
    .argument('<id>', 'the message, such as 7-10234')
    .action(async (id: string) => {
      const { text, body } = await context.client().call<Story>(`/v1/messages/${encodeURIComponent(id)}/explain`);
      await context.out.show(text, () => storyLines(body));
    });
}
