#!/bin/sh
# Both class designs over the same images, a report of A, and the paired comparison of A and B.
set -eu
cd "$$(dirname "$$0")"
clipjax probe config.py --config.design=design.yaml --out=runs/a
clipjax probe config.py --config.design=design-b.yaml --out=runs/b
clipjax report runs/a
clipjax compare runs/a runs/b --out=comparison
