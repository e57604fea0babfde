// One page of a list of records: so many behind the one that the last page ended with. Records keep their order, so a page
// neither repeats nor misses what was there all the time.

import { apiFailure } from './api-failure.ts';

/** `after`: the id of the last record of the page before, or null for the first page. */
export function pageAfter<T extends { readonly id: string }>(
  records: Iterable<T>,
  after: string | null,
  limit: number,
): T[] {
  const page: T[] = [];
  let begun = after === null;
  for (const record of records) {
    if (begun && page.push(record) === limit) break;
    begun ||= record.id === after;
  }
  if (begun) return page;
  throw apiFailure('notFound', `there is no ${JSON.stringify(after)} for a page to begin behind`);
}
