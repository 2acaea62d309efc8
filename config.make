# The core's static library, compiled by its own Makefile with its own flags
# and hidden visibility.

cat << END                                                    >> $NGX_MAKEFILE

$TAILNET_BUILD/libtailnet.a:	\$(wildcard $ngx_addon_dir/core/*/*.[ch])
	\$(MAKE) -C $ngx_addon_dir lib BUILD=$TAILNET_BUILD

END
