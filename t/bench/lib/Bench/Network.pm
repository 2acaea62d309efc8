package Bench::Network;

# A lab of one kind with all competitors and the clients up in it, and
# measurements of them: what a run of a load generator cost everybody.
#
#   lan     one switch
#   wan     the peer is behind a link of 40 ms, 200 Mbit/s, 400 packets
#   lossy   the same, which loses 0.5% of the packets
#   derp    no UDP between the clients, the peer and nodes of ours, and the
#           others: only DERP carries

use strict;
use warnings;

use JSON::PP ();
use POSIX ();
use Time::HiRes qw(sleep);

use Bench::Client;
use Bench::Server;
use Bench::Usage;
use Tailnet::Lab;

my %LINK = (
    wan   => { delay => 20, rate => 200, queue => 400 },
    lossy => { delay => 20, rate => 200, queue => 400, loss => 0.5 },
);


# new($kind, servers => [kinds], own => 3, say => sub { }, big_mb => 1000)
#   own: so many nodes of ours as clients

sub new {
    my ($class, $kind, %opt) = @_;
    my $self = bless { kind => $kind, %opt, lab => Tailnet::Lab->new }, $class;

    # One that does not come up is taken down, for the next try.

    if (!eval { $self->start; 1 }) {
        my $error = $@;

        $self->end;
        die $error;
    }

    return $self;
}


sub start {
    my ($self) = @_;
    my ($lab, $kind, %opt) = ($self->{lab}, $self->{kind}, %$self);
    my $tailnet = $self->{tailnet} = $lab->small_tailnet(headscale => 29,
        tls => 1, progress => sub { $opt{say}->("$kind: ", @_) },
        $LINK{$kind} ? (peer => { wire => $LINK{$kind} }) : ());

    my $root = $self->{root} = $lab->path('root');
    mkdir $root or die "$root: $!\n";

    # Random, and on the disk before the first round, so that nothing is
    # written back during one; it stays in the page cache.

    $lab->run('dd', 'if=/dev/urandom', "of=$root/big", 'bs=1000000',
              "count=$opt{big_mb}", 'conv=fsync', 'status=none');
    $lab->run('dd', 'if=/dev/urandom', "of=$root/1k", 'bs=1024', 'count=1',
              'status=none');

    symlink "$root/big", $tailnet->{peer_web}->prefix . '/html/big'
        or die "big: $!\n";

    $self->{user} = $lab->host('user');
    $self->{peer} = Bench::Client->peer($lab, $tailnet);

    for my $i (1 .. $opt{own} // 0) {
        $opt{say}->("$kind: starting our own client $i");
        push @{$self->{nodes}}, Bench::Client->own($lab, $tailnet, "end$i",
                                                   $root);
    }

    # By DERP the servers ask one of them, whose address must be known, and
    # never have another path to forget.

    my ($upstream) = $kind eq 'derp' ? $self->own : ();
    $upstream->ready if $upstream;

    if ($kind eq 'derp') {
        $_->host->block_udp for $self->{peer}, $self->own;
    }

    for my $server (@{$opt{servers}}) {
        $opt{say}->("$kind: starting $server");
        push @{$self->{up}}, Bench::Server->start($server, lab => $lab,
            tailnet => $tailnet, root => $root, upstream => $upstream);
    }

    $_->ready for @{$self->{up}}, $self->own;
    $self->paths;
}


sub kind { return $_[0]{kind} }
sub lab { return $_[0]{lab} }
sub tailnet { return $_[0]{tailnet} }
sub root { return $_[0]{root} }
sub servers { return @{$_[0]{up}} }
sub peer { return $_[0]{peer} }
sub own { return @{$_[0]{nodes} // []} }
sub reached { return $_[0]{paths} }
sub end { $_[0]{lab}->cleanup }


sub server {
    my ($self, $kind) = @_;
    my ($server) = grep { $_->kind eq $kind } $self->servers;

    return $server;
}


# The servers' paths, looked at all at once, for each takes seconds.

sub paths {
    my ($self) = @_;
    my $wanted = $self->{kind} eq 'derp' ? qr/derp/ : qr/direct/;
    my @tunnels = grep { $_->tunnelled } $self->servers;
    my %seen;

    for my $server (@tunnels) {
        my $pid = open($seen{$server->kind}, '-|') // die "fork: $!\n";

        next if $pid;

        my $path = eval { $server->path(40, $wanted) } // 'none';

        syswrite(STDOUT, $path);
        POSIX::_exit(0);
    }

    for my $server (@tunnels) {
        my $path = readline($seen{$server->kind}) // 'none';

        close $seen{$server->kind};
        $self->{say}->("$self->{kind}: ", $server->title,
                       " is reached by path $path");
        $self->{paths}{$server->kind} = $path;

        for my $client ($self->own) {
            $path = $client->path($server, 40, $wanted);
            $self->{paths}{$server->kind} .= ", to our own $path"
                if $path !~ $wanted;
        }
    }
}


# Runs a load generator, by default at the peer, and returns what it printed
# with what it cost: nginx_cpu, tunnel_cpu, server_cpu (both) and beyond_cpu
# (all of the machine but the load and its tunnel).
#   by => a Bench::Client; at => a host, of which no client takes part
#   aside => [PIDs that belong to the load's side]
#   partial => 1: the load may end before its response does

sub measure {
    my ($self, $server, $command, %opt) = @_;
    my $client = $opt{by} // $self->{peer};
    my $at = $opt{at} // $client->host;
    my @aside = ($self->{peer}->pids, $client->pids, @{$opt{aside} // []});
    my @run = $client->command($server, @$command);
    my %aside = map { $_ => 1 } @aside;

    @aside = keys %aside;

    my $aside = Bench::Usage::cpu(@aside);
    my $machine = Bench::Usage::machine();
    my $cpu = $server->cpu;

    my ($status, $output) = $at->capture(@run);

    my $after = $server->cpu;
    my $machine_after = Bench::Usage::machine();
    my $r = result($output);

    my $ok = $r && ($status == 0 || $opt{partial} && $r->{errors} == 0);
    die "@$command of " . $server->title . ": $output" if !$ok;

    $r->{nginx_cpu} = $after->{nginx} - $cpu->{nginx};
    $r->{tunnel_cpu} = $after->{tunnel} - $cpu->{tunnel};
    $r->{server_cpu} = $r->{nginx_cpu} + $r->{tunnel_cpu};
    $r->{beyond_cpu} = $machine_after->{busy} - $machine->{busy}
        - $r->{cpu} - (Bench::Usage::cpu(@aside) - $aside);

    my $spent = $self->{spent} //= {};
    $spent->{others} += $r->{beyond_cpu} - $r->{server_cpu};
    $spent->{steal} += $machine_after->{steal} - $machine->{steal};
    $spent->{seconds} += $r->{seconds};

    return $r;
}


# Downloads the big file from a server by several clients at once, for some
# seconds, while the code runs; returns what each load generator printed.

sub downloading {
    my ($self, $server, $seconds, $clients, $code) = @_;
    my @loads;

    for my $client (@$clients) {
        push @loads, $client->host->start('download-' . ++$self->{downloads},
            [$client->command($server, 'load', '-t', $seconds, '-n', 10_000,
                              $server->address, 80, '/big')]);
    }

    # Up to their full rate.
    sleep(0.4);
    my $ok = eval { $code->() if $code; 1 };
    my $error = $@;
    my @results;

    for my $load (@loads) {
        $load->reap($seconds + 10);
        push @results, result($load->log)
            // die 'download from ' . $server->title . ': ' . $load->log;
    }

    die $error unless $ok;

    return @results;
}


sub result {
    my ($output) = @_;
    my ($json) = $output =~ /^(\{.*\})$/m or return;

    return JSON::PP->new->decode($json);
}


1;
