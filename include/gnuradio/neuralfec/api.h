/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <gnuradio/attributes.h>

#ifdef gnuradio_neuralfec_EXPORTS
#define NEURALFEC_API __GR_ATTR_EXPORT
#else
#define NEURALFEC_API __GR_ATTR_IMPORT
#endif
