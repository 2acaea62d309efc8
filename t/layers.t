#!/usr/bin/perl

# The house rules that a program can check: which layer of the core includes
# which, what the layers below the host keep their hands off, and the form of
# the sources.

use strict;
use warnings;

use FindBin;
use Test::More;

chdir "$FindBin::Bin/.." or BAIL_OUT("no repository: $!");

# Each layer and what it may include beside itself:
#
#   base <- crypto <- wire <- { control, path, wg, filter } <- node
#   base <- wire <- stack <- node <- host <- proc <- data <- run
#   base <- crypto <- lock <- control
#   base <- crypto <- wire <- cert <- host

my @below = qw(base crypto wire);
my @parts = qw(control path wg filter);

my %may = (
    base   => [],
    crypto => ['base'],
    wire   => [qw(base crypto)],
    lock   => [qw(base crypto)],
    cert   => [@below],
    (map { $_ => [@below] } @parts),
    control => [@below, 'lock'],
    stack  => [@below],
    node   => [@below, @parts, 'stack'],
    host   => [@below, @parts, 'cert', 'stack', 'node'],
    proc   => [@below, @parts, 'cert', 'node', 'host'],
    data   => [@below, @parts, 'stack', 'node', 'host', 'proc'],
    run    => [@below, @parts, 'cert', 'lock', 'stack', 'node', 'host', 'proc',
               'data'],
);

# ngx_tailnet_super is there as often as there are nodes, and more: what it is
# made of beside base and proc, with all that its sources include in turn.

my $small = 'core/proc/tn_super_main.c';
my %small = map { $_ => 1 } qw(host/tn_lastport host/tn_logfile host/tn_state
                               host/tn_sockname host/tn_trim
                               host/tn_udp_socket);

# What owns no socket, clock, thread or file does not need these.  (A library
# is initialised by pthread_once(), which starts no thread.)

my $host_headers = qr{^(?:poll|fcntl|netdb|ares|dirent|sched|signal
    |sys/(?:epoll|eventfd|timerfd|inotify|file|stat|mman|wait|un|ioctl
        |signalfd|prctl)
    |net/if|ifaddrs|linux/.*|openssl/ssl)\.h$}x;

my $host_calls = qr{\b(?:clock_gettime|gettimeofday|time|sleep|usleep
    |nanosleep|socket|connect|accept4?|recvfrom|recvmsg|sendto|sendmsg
    |fopen|fork|execve?|epoll_\w+|getaddrinfo
    |pthread_(?:create|join|mutex\w*|cond\w*|rwlock\w*|spin\w*))\s*\(}x;

my %pure = map { $_ => 1 } @below, 'lock', 'cert', @parts, 'stack', 'node';

# The log writes its lines to where it was told.
my %exempt = ('core/base/tn_log.c' => 1);

my $lines_max   = 1200;
my $columns_max = 80;

my @core  = glob 'core/*.[ch] core/*/*.[ch]';
my @glue  = glob 'ngx_tailnet_module/*.[ch]';
my @tests = glob 't/unit/*.[ch] t/fuzz/*.[ch] t/lab/*.[ch] t/bench/*.[ch]';
my @perl  = glob 't/*.t t/lib/*/*.pm t/lib/*/*/*.pm';

my %text = map { $_ => read_file($_) } @core, @glue, @tests, @perl;

ok(@core > 20, 'there are sources');

subtest 'layers' => sub {
    for my $file (@core) {
        my ($layer) = $file =~ m{^core/(\w+)/} or next;

        my @bad = grep { !may_include($layer, $_) }
            $text{$file} =~ /^\s*#\s*include\s+"([^"]+)"/mg;
        none($file, "includes only what its layer may", @bad);
    }
};

subtest 'the small program' => sub {
    my @todo = ($small);
    my (%seen, @bad);

    ok($text{$small}, "there is $small");

    while (defined(my $file = shift @todo)) {
        next if $seen{$file}++ || !exists $text{$file};

        my ($layer, $name) = $file =~ m{^core/((\w+)/.*)\.[ch]$} ? ($2, $1)
                                                                : ('', '');
        push @bad, $file unless $layer =~ /^(?:base|proc)$/ || $small{$name};
        push @todo, $file =~ s/\.h$/.c/r;

        push @todo, map { m{/} ? "core/$_" : "core/$layer/$_" }
            $text{$file} =~ /^\s*#\s*include\s+"([^"]+)"/mg;
    }

    none($small, 'is made of little', sort @bad);
};

subtest 'nothing of the host below it' => sub {
    for my $file (grep { m{^core/(\w+)/} && $pure{$1} && !$exempt{$_} } @core) {
        my @bad = grep { /$host_headers/ }
            $text{$file} =~ /^\s*#\s*include\s+<([^>]+)>/mg;

        my $code = code($text{$file});
        push @bad, $code =~ /(?<![.>\w])($host_calls)/g;

        none($file, 'owns no socket, clock, thread or file', @bad);
    }
};

subtest 'nginx stays outside of the core' => sub {
    for my $file (@core) {
        my @bad = $text{$file} =~ /^\s*#\s*include\s+[<"](ngx_[^>"]*)/mg;
        none($file, 'includes nothing of nginx', @bad);
    }
};

subtest 'what nginx builds' => sub {
    my $config = read_file('config');

    # sources of the glue, and headers whose change has them built again

    for my $file (@glue) {
        my ($name) = $file =~ m{([^/]+)$};

        none($file, 'is in "config"',
             $config =~ m{\$tailnet_glue/\Q$name\E\b} ? () : 'it is not');
    }

    like(scalar `HTTP_SSL=NO ngx_addon_dir=. sh ./config 2>&1`,
         qr/: error: .* needs --with-http_ssl_module$/,
         'not without SSL, as a line says');
    is(scalar `sh ngx_tailnet_module/configure-flags /nonexistent`,
       "--with-http_ssl_module\n", 'which is for "make", too');
};

subtest 'form' => sub {
    for my $file (sort keys %text) {
        my @bad;
        my @lines = split /\n/, $text{$file}, -1;
        my $is_c = $file =~ /\.[ch]$/;

        push @bad, 'no newline at its end' if $lines[-1] ne '';
        pop @lines;

        push @bad, scalar(@lines) . ' lines' if @lines > $lines_max;
        push @bad, 'no banner'
            if $is_c && $text{$file} !~ m{\A\n?/\*\n \* \S};
        push @bad, 'no copyright line'
            if $file =~ m{^(?:core|ngx_tailnet_module)/}
                && $text{$file}
                    !~ m{\A\n/\*\n \* Copyright \(C\) the ngx_tailnet authors$}m;
        push @bad, 'no guard'
            if $file =~ /([^\/]+)\.h$/
                && $text{$file} !~ /^#ifndef _?\U$1\E_H_INCLUDED_$/m;

        for my $n (1 .. @lines) {
            my $line = $lines[$n - 1];

            push @bad, "$n: trailing space" if $line =~ /\s$/;
            push @bad, "$n: tab" if $line =~ /\t/;
            push @bad, "$n: too long"
                if $is_c && length($line) > $columns_max;
            push @bad, "$n: unfinished"
                if $line =~ /\b(?:TO[D]O|FIX[M]E|XX[X]|not imple[m]ented)\b/;
        }

        none($file, 'keeps to the form', @bad);
    }
};

subtest 'comments' => sub {
    for my $file (grep { /\.[ch]$/ } sort keys %text) {
        my $code = $text{$file};
        $code =~ s{/\*.*?\*/|"(?:\\.|[^"\\\n])*"}{}gs;

        none($file, 'has C comments only', $code =~ m{(//[^\n]*)}g);
    }
};

done_testing();


sub read_file {
    my ($file) = @_;

    open my $f, '<', $file or BAIL_OUT("$file: $!");
    local $/;

    return scalar <$f>;
}

sub may_include {
    my ($layer, $name) = @_;

    # a bare name is a neighbour
    return -e "core/$layer/$name" || $name eq 'tailnet.h' && $layer eq 'run'
        if $name !~ m{/};

    my ($other) = $name =~ m{^(\w+)/\w+\.h$} or return 0;

    return -e "core/$name"
        && grep { $_ eq $other } $layer, @{ $may{$layer} // [] };
}

# the text without comments and strings
sub code {
    my ($text) = @_;

    $text =~ s{/\*.*?\*/|"(?:\\.|[^"\\\n])*"}{ }gs;

    return $text;
}

# one result per file; a failure lists at most ten reasons
sub none {
    my ($file, $name, @bad) = @_;

    ok(!@bad, "$file $name");
    diag("$file: $_") for grep { defined } @bad[0 .. 9];
}
