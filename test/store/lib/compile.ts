// TypeScript files with all that they import, as JavaScript that plain Node runs: for tests that need another process. Types
// are not checked here (the types stage does), so it takes a fraction of a second and no build.

import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';

const ROOT = resolve(import.meta.dirname, '../../..');

/** `entry`: a path below the repository. Returns the JavaScript file's path; everything is written below `directory`. */
export function compileForNode(entry: string, directory: string): string {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }');
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
  const done = new Set<string>();
  const visit = (file: string): void => {
    if (done.has(file)) return;
    done.add(file);
    const { outputText } = ts.transpileModule(readFileSync(file, 'utf8'), {
      compilerOptions: {
        target: ts.ScriptTarget.ES2023,
        module: ts.ModuleKind.ESNext,
        verbatimModuleSyntax: true,
        rewriteRelativeImportExtensions: true,
      },
    });
    const output = outputOf(file, directory);
    mkdirSync(dirname(output), { recursive: true });
    writeFileSync(output, outputText);
    for (const { fileName } of ts.preProcessFile(outputText).importedFiles) {
      if (fileName.startsWith('.')) visit(resolve(dirname(file), fileName.replace(/\.js$/, '.ts')));
    }
  };
  const file = join(ROOT, entry);
  visit(file);
  return outputOf(file, directory);
}

function outputOf(file: string, directory: string): string {
  return join(directory, relative(ROOT, file).replace(/\.ts$/, '.js'));
}
