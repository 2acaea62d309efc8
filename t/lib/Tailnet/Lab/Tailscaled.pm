package Tailnet::Lab::Tailscaled;

# A real tailscaled of the lab, with a TUN or in userspace mode. It uploads no
# logs and has no route out.

use strict;
use warnings;

use Carp qw(croak);
use JSON::PP ();


# new($lab, host => $host, tun => 1, env => {...}, args => [...],
#     derp_http => 0)
#   tun: 0 for userspace networking; connections to the tailnet then go
#        through proxy()
#   derp_http: DERP by plain http

sub new {
    my ($class, $lab, %opt) = @_;
    my $host = $opt{host} // croak 'tailscaled needs a host';

    my $self = bless {
        lab  => $lab,
        host => $host,
        tun  => $opt{tun} // 1,
        dir  => $lab->path('tailscaled-' . $host->name),
        args => $opt{args} // [],
        env  => $opt{env} // {},
    }, $class;

    mkdir $self->{dir}, 0700 or croak "$self->{dir}: $!";

    $self->{env}{TS_DEBUG_USE_DERP_HTTP} = 1 if $opt{derp_http};

    $self->start;

    return $self;
}


sub host { return $_[0]{host} }
sub process { return $_[0]{process} }


# Again after stop(): with what it knew, unless it was made to forget().

sub start {
    my ($self) = @_;
    my ($dir, $lab) = @{$self}{qw(dir lab)};

    my @mode = $self->{tun} ? ('--tun=tailscale0')
        : ('--tun=userspace-networking', '--socks5-server=127.0.0.1:1055',
           '--outbound-http-proxy-listen=127.0.0.1:1056');

    unlink "$dir/socket";       # of one before, that was killed

    $self->{process} = $self->{host}->start(
        'tailscaled-' . $self->{host}->name,
        [$lab->bin('tailscaled'), "--state=$dir/state", "--statedir=$dir",
         "--socket=$dir/socket", '--port=41641', @mode, @{$self->{args}}],
        env => {
            HOME                  => $dir,
            SSL_CERT_FILE         => $lab->ca->cert,
            TS_NO_LOGS_NO_SUPPORT => 'true',
            %{$self->{env}},
        });

    $self->{process}->wait_until(10, 'the socket', sub { -S "$dir/socket" });
}


sub stop { return $_[0]{process}->stop }


# What it knows of its tailnet, between stop() and start().

sub forget {
    my ($self) = @_;
    unlink "$self->{dir}/state", "$self->{dir}/socket";
}


# The command line of "tailscale ..." for this node.

sub command {
    my ($self, @args) = @_;
    return ($self->{lab}->bin('tailscale'), "--socket=$self->{dir}/socket",
            @args);
}


# Runs "tailscale ...", returns its output, dies if it fails.

sub cli {
    my ($self, @args) = @_;
    return $self->{host}->run($self->command(@args));
}


# The same, but returns (exit status, output).

sub try_cli {
    my ($self, @args) = @_;
    return $self->{host}->capture($self->command(@args));
}


# up(control => $headscale, auth_key => ..., hostname => ..., args => [...])

sub up {
    my ($self, %opt) = @_;
    my $control = $opt{control} // croak 'up needs control';

    $self->cli('up', '--login-server', $control->url,
               '--auth-key', $opt{auth_key} // $control->auth_key,
               '--hostname', $opt{hostname} // $self->{host}->name,
               '--accept-dns=false', '--timeout=120s',
               $self->{tun} ? '--netfilter-mode=off' : (),
               @{$opt{args} // []});

    return $self;
}


sub status {
    my ($self) = @_;
    return JSON::PP->new->decode($self->cli('status', '--json'));
}


sub ip4 {
    my ($self) = @_;
    return $self->{ip4} //= (grep { !/:/ } @{$self->status->{TailscaleIPs}})[0];
}


sub ip6 {
    my ($self) = @_;
    return $self->{ip6} //= (grep { /:/ } @{$self->status->{TailscaleIPs}})[0];
}


# What this node knows of a peer: by host name, as "tailscale status" has it.

sub peer {
    my ($self, $hostname) = @_;
    my ($peer) = grep { ($_->{DNSName} // '') =~ /^\Q$hostname\E\./ }
        values %{$self->status->{Peer} // {}};

    return $peer;
}


# Waits for a peer to be known, and returns it.

sub wait_peer {
    my ($self, $hostname, $seconds) = @_;

    return $self->{lab}->wait_for($seconds // 15,
        "$hostname to be seen by " . $self->{host}->name,
        sub { $self->peer($hostname) });
}


# One disco ping: { path => 'direct' | 'derp-CODE', via, ms }, or nothing.

sub ping {
    my ($self, $target, $seconds) = @_;
    my ($status, $output) = $self->try_cli('ping', '--c=1',
        '--until-direct=false', sprintf('--timeout=%ds', $seconds // 5),
        $target);

    my ($via, $time, $unit) =
        $output =~ /^pong from .* via (\S+) in ([\d.]+)(ms|s)$/m
        or return;

    my ($code) = $via =~ /^DERP\((.*)\)$/;

    return {
        path => defined $code ? "derp-$code" : 'direct',
        via  => $via,
        ms   => $unit eq 's' ? $time * 1000 : $time,
    };
}


# Pings until the path is as wanted: qr/direct/, qr/derp/.

sub wait_path {
    my ($self, $target, $path, $seconds) = @_;

    return $self->{lab}->wait_for($seconds // 15,
        "path $path from " . $self->{host}->name . " to $target", sub {
            my $pong = $self->ping($target, 2);
            return $pong && $pong->{path} =~ $path && $pong;
        });
}


# The proxy through which this host reaches the tailnet in userspace mode.

sub proxy {
    my ($self) = @_;
    return $self->{tun} ? undef : 'socks5h://127.0.0.1:1055';
}


# A HTTP request over the tailnet, as Host's get().

sub get {
    my ($self, $url, %opt) = @_;
    return $self->{host}->get($url, proxy => $self->proxy, %opt);
}


# The same, repeated until it is answered.

sub wait_get {
    my ($self, $url, %opt) = @_;
    return $self->{host}->wait_get($url, proxy => $self->proxy, %opt);
}


1;
