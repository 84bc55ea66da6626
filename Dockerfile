# SPDX-License-Identifier: GPL-3.0-or-later
# docker build -t gr-neuralfec . && docker run --rm -it gr-neuralfec
# A graph with a window: docker run -e DISPLAY -v /tmp/.X11-unix:/tmp/.X11-unix gr-neuralfec \
#   gnuradio-companion examples/bicm_link.grc
FROM debian:12-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends make git ca-certificates
WORKDIR /opt/gr-neuralfec
# Packages first: they change less often than the sources, and Docker keeps the layer.
COPY scripts/install_system_packages.sh scripts/
RUN scripts/install_system_packages.sh
COPY . .
RUN make
ENV PATH=/opt/gr-neuralfec/.venv/bin:$PATH
CMD ["/bin/bash"]
