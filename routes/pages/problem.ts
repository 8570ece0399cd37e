import { problemBody, statusText } from '../problem.js';
import type { Problem, Reply } from '../route.js';
import type { FailedRequest } from '../server.js';
import type { PageDeps } from './deps.js';
import { openSite, type Site, seeOther } from './show.js';

/** Shows an error as a page; whoever is not signed in is sent to where they can. For `ServerDeps.problemPage`. */
export function problemPage(
  deps: Pick<PageDeps, 'pool' | 'templates' | 'assets'>,
): (problem: Problem, request: FailedRequest) => Promise<Reply> {
  const site = openSite(deps);
  return async (problem, request) => {
    if (problem.status === 401) return seeOther(problem.code === 'session_ended' ? '/sign-in?ended=1' : '/sign-in');
    const reply = await showProblem(site, problem, request);
    return 'stream' in reply ? reply : { ...reply, headers: problem.headers };
  };
}

/** Where a code's own word says nothing to a person. */
const HEADINGS: ReadonlyMap<string, string> = new Map([['csrf', 'Nothing was done']]);

function showProblem(site: Site, problem: Problem, { principal, requestId }: FailedRequest): Promise<Reply> {
  const { title } = problemBody(problem, requestId);
  const { status, detail } = problem;
  const heading = status >= 500 ? statusText(status) : (HEADINGS.get(problem.code) ?? title);
  const page = { template: 'problem', title: `${status} ${heading}`, status };
  const content = {
    status,
    heading,
    detail,
    requestId: status >= 500 && requestId,
  };
  // The frame asks the database for a count, which may be what failed.
  const framed = principal !== null && status < 500;
  return framed ? site.show({ ...page, part: null }, principal, content) : site.showPublic(page, content);
}
