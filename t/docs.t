#!/usr/bin/perl

# What docs name is in the code, and what the code offers is in docs:
# directives with their contexts, variables, metrics with their types and
# results, the tool's commands and options, files in the state directory. Lines
# of the log that docs quote are in the sources, and limits that they tell are
# those of the code. And no link of theirs leads nowhere.

use strict;
use warnings;

use FindBin;

use Test::More;

my $top = "$FindBin::Bin/..";


sub slurp {
    my ($path) = @_;

    open(my $file, '<', $path) or die "$path: $!\n";
    local $/;

    return scalar <$file>;
}


sub sources { return join '', map { slurp($_) } glob "$top/$_[0]" }


sub same {
    my ($docs, $code, $name) = @_;
    my %docs = map { $_ => 1 } @$docs;
    my %code = map { $_ => 1 } @$code;

    cmp_ok(scalar keys %code, '>', 5, "$name: there are some");
    is(join(' ', grep { !$docs{$_} } sort keys %code), '',
       "$name: none is missing in docs");
    is(join(' ', grep { !$code{$_} } sort keys %docs), '',
       "$name: docs name no other");
}


my $directives = slurp("$top/docs/directives.md");
my $operating = slurp("$top/docs/operating.md");
my $glue = sources('ngx_tailnet_module/*.c');
my $core = sources('core/*/*.[ch]');
my $show = slurp("$top/core/run/tn_toolshow.c");
my $tool = slurp("$top/core/run/tn_toolcmd.c");

# A directive has a table with its syntax; listen and server are stock ones.

same([grep { !/^(?:listen|server)$/ } map { /(?:^|<br> )\*\*(\w+)\*\*/g }
      $directives =~ /^\| Syntax \| (.*) \|$/mg],
     [$glue =~ /\{ ngx_string\("(\w+)"\),\s+(?=NGX_\w+_CONF)/g],
     'directives');

same([$directives =~ /^\| `\$(tailnet_\w+)` \|/mg],
     [$glue =~ /ngx_string\("(tailnet_\w+)"\), NGX_TAILNET_VAR/g],
     'variables');

same([map { s/` \| / /r }
      $directives =~ /^\| `(tailnet_\w+` \| (?:gauge|counter))\b/mg],
     [map { s/", "/ /r } slurp("$top/core/run/tn_metrics.c")
      =~ /^    \{ "(tailnet_\w+", "\w+)"/mg],
     'metrics');

# What a counter counts: the members of the object that it is made of.

for my $case (['packets', qr/show_count\(shown, "(\w+)"/],
              ['peerapi_requests', qr/show_set\(counts,\s+"(\w+)"/]) {
    my ($name, $member) = @$case;
    my ($text) = $directives
        =~ /^\| `tailnet_(?:node_)?${name}_total` \| counter \| (.*) \|$/m;

    same([grep { $_ ne 'result' } $text =~ /`(\w+)`/g], [$show =~ /$member/g],
         "results of $name");
}

same([$operating =~ /^\| `(\w+)(?: [A-Z]+)?` \|/mg],
     [$tool =~ /^    \{ "(\w+)", TN_IPC/mg],
     'commands');

# Options, of which `node` has more: those of its usage.

my @options = ($tool =~ /^        \{ "(\w+)",\s+\w+_argument/mg,
               slurp("$top/core/run/tn_main.c") =~ /what, "--(\w+)"/g);
my $command = slurp("$top/core/run/tn_command.c");
my ($of_node) = $operating =~ /`ngx_tailnet_core node ([^`]*)`/;

same([grep { $of_node !~ /--$_\b/ }
      ($operating =~ s/`tailscale .*?`//gsr) =~ /(?<![\w-])--([a-z]\w+)/g],
     \@options, 'options');
is(join(' ', grep { $command !~ /\{ "$_",/ } $of_node =~ /--(\S+)/g), '',
   'options of "node"');

# Files in the state directory; of some a part of the name is told by a word in
# capital letters.

is(join(' ', grep { $operating !~ /`$_`/ } map { s/\.%s/.[A-Z.]+/gr }
        $core =~ /"((?:cert|acme|node|netmap|lock)\.[\w.%-]+)"/g,
        $core =~ /define TN_LASTPORT_FILE\s+"(\w+)"/),
   '', 'files in the state directory');


# --- contexts: a word is that of http and of stream

my %word = (MAIN => 'main', TAILNET => 'tailnet', HTTP_MAIN => 'http',
            HTTP_SRV => 'server', HTTP_LOC => 'location',
            HTTP_LMT => 'limit_except', STREAM_MAIN => 'stream',
            STREAM_SRV => 'server');
my (%told, %taken);

for my $section (split /^## /m, $directives) {
    my ($context) = $section =~ /^\| Context \| (.*) \|$/m or next;

    $told{$_}{$context} = 1
        for $section =~ /(?:^\| Syntax \| |<br> )\*\*(\w+)\*\*/mg;
}

while ($glue =~ /\{ ngx_string\("(\w+)"\),\s+((?:NGX_\w+[|\s]*)+),/g) {
    my ($name, $flags) = ($1, $2);

    $taken{$name}{$_} = 1
        for grep { defined } map { $word{$_} } $flags =~ /NGX_(\w+)_CONF\b/g;
}

is(join(', ', grep {
       my %seen = map { $_ => 1 } map { /(\w+)/g }
           map { s/ in stream//r } keys %{$told{$_}};
       join(' ', sort keys %seen) ne join(' ', sort keys %{$taken{$_}});
   } sort keys %taken), '', 'contexts of directives');


# --- lines of the log, as far as docs quote them: what stands for something
# may be anything there, and is %s or the like in the source

my $string = qr/"(?:[^"\\]|\\.)*"/;
my $code = ($core . $glue) =~ s{($string)|/\*.*?\*/|'\\?"'}{$1 // ''}gesr;
my %literal = map { join('', map { s/^"|"$//gr } /$string/g) =~ s/\\"/"/gr
                    => 1 } $code =~ /((?:$string\s*)+)/g;
my $literals = join "\n", keys %literal;
my ($table) = $operating =~ /^\| line contains .*?\n(.*?)\n\n/ms;
my $gateway = slurp("$top/docs/gateway.md");

my @lines = ((map { /^\| (.*?) \| / ? $1 =~ /`([^`]+)`/g : () }
              split /\n/, $table),
             (map { /\b(?:says|with a line)\ (?:so\ at\ `error`\ \()?
                     [`"]([^`"]+)[`"]/gx,
                    /\bminute(?: says)?: "([^"]+)"/g }
              map { s/\s+/ /gr } $operating, $gateway));

cmp_ok(scalar @lines, '>', 20, 'lines of the log are quoted')
    or diag(join "\n", @lines);

is(join(' | ', grep {
       my $line = join '.*?', map { quotemeta }
           split /\.\.\.|\b(?:NAME|ADDRESS|URL|N|x)\b|(?<=')A(?=')
                  |\d+(?:\.\d+){3}(?::\d+)?/x;

       $literals !~ /$line/;
   } @lines), '', 'they are in the sources');


# --- limits: a file, words around the number, and whose value it is

my %value = map { s/\s+\/\*.*//r } $core =~ /^#define (\w+)\s+(\(?\d.*)$/mg;

for my $case (
    ['operating', 'Of more than (N) peers', 'TN_TOOLSHOW_PEERS_MAX'],
    ['operating', 'the last (N) changes', 'TN_PATH_HISTORY'],
    ['operating', '(N) lines at most', 'TN_TALLY_MAX'],
    ['operating', 'there are (N), and', 'TN_RELAY_SESSIONS_MAX'],
    ['operating', '(N) for one asker', 'TN_RELAY_ASKER_MAX'],
    ['operating', 'keep them, (N) at most', 'TN_SUPER_LIFELINES'],
    ['directives', 'up to (N) nodes', 'TN_SUPER_NODES'],
    ['directives', 'A node has up to (N) listening sockets',
     'TN_SNODE_LISTENERS'],
    ['directives', 'Addresses, (N) at most', 'TN_IPC_STATIC'],
    ['directives', 'this ACL tag, (N) at most', 'TN_IPC_MEMBERS_MAX'],
    ['directives', 'a tag is (N) servers', 'TN_IPC_MEMBERS_MAX'],
    ['directives', 'has up to (N) of these sockets', 'TN_IPC_SERVES'],
    ['directives', 'there are (N) connections of a node', 'TN_LWNET_CONNS'],
    ['directives', '(N) flows of UDP', 'TN_UDPNET_FLOWS'],
    ['directives', '(N) dials', 'TN_LWNET_DIALS'],
    ['directives', '(N) half-open connections', 'TN_LWIP_HALF_OPEN'],
    ['directives', 'them (N) from one address', 'TN_LWIP_HALF_OPEN_EACH'],
    ['gateway', 'most (N) questions are held', 'TN_NODEAPI_DNS_MAX'],
    ['gateway', 'After (N) of TCP', 'TN_LOOPS_TCP'],
    ['gateway', 'of TCP, or (N) of UDP', 'TN_LOOPS_UDP'],
    ['gateway', 'Per node (N) probes', 'TRANSIT_PROBES'],
    ['gateway', '(N) of one peer; SYNs over', 'TRANSIT_PROBES_EACH'],
    ['gateway', '(N) wait at a time', 'TRANSIT_PINGS'],
    ['gateway', 'wait at a time, (N) of one peer', 'TRANSIT_PINGS_EACH'],
    ['gateway', '(N) a second start', 'TRANSIT_PINGS_RATE'],
    ['gateway', 'Up to (N) flows stand', 'TN_UDPNET_FLOWS'],
    ['gateway', 'flows stand, (N) of one peer', 'TN_UDPNET_EACH'],
    ['gateway', 'lwIP: (N) half-open', 'TN_LWIP_HALF_OPEN_EACH'],
    ['threat-model', '(N) flows of a peer', 'TN_UDPNET_EACH'],
    ['threat-model', 'flows of a peer, (N) of all', 'TN_UDPNET_FLOWS'],
    ['threat-model', 'one question a connection, (N) at a time',
     'TN_NODEAPI_DNS_MAX'],
) {
    my ($page, $words, $name) = @$case;
    my $text = slurp("$top/docs/$page.md") =~ s/\s+/ /gr;
    my ($number) = $text =~ /${\($words =~ s{N}{\\b\[\\d,]+}r)}/;

    is(($number // 'none') =~ tr/,//dr, $value{$name} // "no $name",
       "$page: $words");
}


# --- links: to a file, and to a heading of it as a browser calls it

my @pages = map { s{^\Q$top/}{}r }
    "$top/README.md", "$top/CONTRIBUTING.md", glob("$top/docs/*.md"),
    glob("$top/docs/decisions/*.md");
my (%anchor, @lost);

for my $page (@pages) {
    my $text = slurp("$top/$page") =~ s/^```.*?^```//gmsr;

    $anchor{$page}{lc($_) =~ s/[^\w\- ]//gr =~ tr/ /-/r} = 1
        for $text =~ /^#+ (.*)$/mg;
}

for my $page (@pages) {
    my $folder = $page =~ s{[^/]*$}{}r;

    for my $link (slurp("$top/$page") =~ /\]\(([^)]*)\)/g) {
        next if $link =~ /^https?:/;

        my ($path, $heading) = split /#/, $link, 2;
        my $file = $path eq '' ? $page : "$folder$path";

        1 while $file =~ s{[^/]+/\.\./}{};
        push @lost, "$page: $link"
            if !-e "$top/$file" || defined $heading && !$anchor{$file}{$heading};
    }
}

is(join(', ', @lost), '', 'all links lead somewhere');

done_testing();
