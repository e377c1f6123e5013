// Runs JavaScript code as a cell of a notebook: the value of a last expression is its result.
'use strict';
const fs = require('node:fs');
const { createRequire } = require('node:module');
const util = require('node:util');
const vm = require('node:vm');

const CODE = '/blockyard/code.mjs';
const RESULT = '/result/result.json';

async function main() {
  const source = fs.readFileSync(CODE, 'utf8');
  const variables = JSON.parse(fs.readFileSync('/blockyard/variables.json', 'utf8'));
  Object.assign(globalThis, variables, { require: createRequire('/work/') });
  let script;
  try {
    script = new vm.Script(source, { filename: 'main.js', importModuleDynamically: (name) => import(name) });
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    // With `import` or `await` at the top it is a module, and a module has no value.
    try {
      await import(CODE);
    } catch (second) {
      throw second instanceof SyntaxError ? error : second;
    }
    return;
  }
  const value = await script.runInThisContext();
  if (value !== undefined) fs.writeFileSync(RESULT, JSON.stringify({ text: util.inspect(value) }));
}

main().catch((error) => {
  process.stderr.write((error instanceof Error && error.stack ? error.stack : util.inspect(error)) + '\n');
  process.exitCode = 1;
});
