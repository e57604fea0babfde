// The house rules that no linter rule says, as a function of one file's path and text: the opening comment, no lint
// suppressions, no notes of unfinished work, the length; and in the pure rooms what lists of forbidden globals
// (biome.json) cannot reach: Math.random in any spelling, async and await.

import ts from 'typescript';

const LINES_MAX = 600;
/** Product code takes two lines to introduce. One is enough for a test, a script, or the other half of a header. */
const openingLinesMin = (path) => (/^src\/|^native\/(?!test\/|fuzz\/).*\.h$/.test(path) ? 2 : 1);

/** The same rooms as in biome.json and tsconfig.pure.json; sim/main.ts is the simulator's shell. */
const PURE = [
  /^src\/(base|noise|wireguard|path|mesh|protocol|sim)\//,
  /^src\/controller\/state\//,
  /^src\/relay\/engine\//,
  /^src\/dataplane\/(reference\/|dataplane\.ts$)/,
  /^src\/crypto\/provider\.ts$/,
];
const isPure = (path) => PURE.some((room) => room.test(path)) && path !== 'src/sim/main.ts';

/** Spelled apart, so that this file does not find itself. */
const SUPPRESSION = new RegExp(
  ['biome-' + 'ignore', '@ts-' + '(ignore|expect-error|nocheck)', 'eslint-' + 'disable', 'NO' + 'LINT'].join('|'),
);
const UNFINISHED = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X'].join('|')})\\b`);

/** Lines of the comment that opens the file, a `#!` line not counted. */
function openingComment(lines) {
  const from = lines[0]?.startsWith('#!') ? 1 : 0;
  let at = from;
  if (lines[at]?.startsWith('/*')) {
    while (at < lines.length && !lines[at].includes('*/')) at++;
    return at - from + 1;
  }
  while (lines[at]?.startsWith('//')) at++;
  return at - from;
}

function* impurities(path, text) {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true);
  const found = [];
  const visit = (node) => {
    if (node.kind === ts.SyntaxKind.AsyncKeyword)
      found.push([node, 'async: a pure room is synchronous, (input, now) gives outputs']);
    if (ts.isAwaitExpression(node) || node.awaitModifier !== undefined) {
      found.push([node, "await: a pure room is synchronous, waiting is the shell's"]);
    }
    if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      found.push([node, 'import(): a pure room is synchronous']);
    }
    if (ts.isIdentifier(node) && node.text === 'Math' && !usedWell(node)) {
      found.push([node, 'Math.random: a pure room has no chance of its own, a RandomSource or Prng is passed in']);
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  for (const [node, what] of found) yield [file.getLineAndCharacterOfPosition(node.getStart(file)).line + 1, what];
}

/** `Math.name` with any name but `random`; or the word as somebody else's property. */
function usedWell(node) {
  const parent = node.parent;
  if (ts.isPropertyAccessExpression(parent)) return parent.name === node || parent.name.text !== 'random';
  return ts.isPropertyAssignment(parent) && parent.name === node;
}

/** `[line, what]` for everything wrong with one file. `path` is relative to the repository. */
export function* problems(path, text) {
  const lines = text.split('\n');
  const opening = openingComment(lines);
  if (opening < openingLinesMin(path)) {
    yield [
      1,
      `opening comment of ${opening} lines: say what it is, which specification it follows, what it leaves out`,
    ];
  }
  if (lines.length > LINES_MAX) yield [LINES_MAX, `${lines.length} lines: one idea per file, rarely over 400 lines`];
  for (const [i, line] of lines.entries()) {
    if (SUPPRESSION.test(line)) yield [i + 1, 'a suppression: mend the cause'];
    if (UNFINISHED.test(line)) yield [i + 1, 'a note of unfinished work'];
  }
  if (isPure(path)) yield* impurities(path, text);
}
