package Bench::Server;

# One of those who compete: nginx on a host of its own, reached by the client
# through our module, through a tailscaled beside it, or without a tunnel. All
# have the same nginx.conf but for the listener.

use strict;
use warnings;

use Carp qw(croak);
use Time::HiRes qw(sleep);

use Bench::Usage;

my %KINDS = (
    ours       => { host => 'web',   title => 'ngx_tailnet' },
    tailscaled => { host => 'rival', title => 'tailscaled + nginx' },
    plain      => { host => 'plain', title => 'nginx, no tunnel' },
);


sub kinds { return qw(ours tailscaled plain) }


# start($kind, lab => $lab, tailnet => what small_tailnet() returned,
#       root => the directory to serve)
# Returns when the client has got a page.

sub start {
    my ($class, $kind, %opt) = @_;
    my $what = $KINDS{$kind} // croak "there is no $kind to compare";
    my ($lab, $tailnet) = @opt{qw(lab tailnet)};

    my $self = bless {
        %opt,
        %$what,
        kind   => $kind,
        client => $tailnet->{peer},
    }, $class;

    my $host = $what->{host} eq 'web' ? $tailnet->{web}
        : $lab->host($what->{host});

    my $nginx = $lab->nginx(host => $host, module => $kind eq 'ours',
                            level => 'notice');
    $self->{nginx} = $nginx;

    my $main = "worker_processes 1;\n";
    my $listen = '80';

    if ($kind eq 'ours') {
        $main .= $nginx->tailnet_block($tailnet->{control},
                                       $tailnet->{auth_key});
        $listen = '80 tailnet=home';
    }

    $nginx->configure(main => $main, http => <<"HTTP");
    sendfile           on;
    tcp_nopush         on;
    open_file_cache    max=16;
    keepalive_requests 1000000000;
    keepalive_timeout  600s;

    server {
        listen     $listen;
        root       $opt{root};
        access_log off;
    }
HTTP
    $nginx->start;

    if ($kind eq 'tailscaled') {
        $self->{tunnel} = $lab->tailscaled(host => $host);
        $self->{tunnel}->up(control  => $tailnet->{control},
                            auth_key => $tailnet->{auth_key});
    }

    $self->{address} = $kind eq 'plain' ? $host->ip4 : $self->tailnet_ip4;
    $self->wait_page(30);

    return $self;
}


sub kind { return $_[0]{kind} }
sub title { return $_[0]{title} }
sub address { return $_[0]{address} }
sub tunnelled { return $_[0]{kind} ne 'plain' }


sub tailnet_ip4 {
    my ($self) = @_;
    my $peer = $self->{client}->wait_peer($self->{host}, 30);

    return (grep { !/:/ } @{$peer->{TailscaleIPs}})[0];
}


sub wait_page {
    my ($self, $seconds) = @_;
    my $r = $self->{client}->wait_get("http://$self->{address}/1k",
                                      seconds => $seconds);

    return if $r && $r->{status} == 200;

    croak "no page from $self->{title}: " . ($r ? $r->{error} : '')
        . "\n" . $self->{nginx}->error_log;
}


# The path the client has to it after some seconds at most: "direct",
# "derp-CODE"; nothing without a tunnel.

sub path {
    my ($self, $seconds) = @_;

    return unless $self->tunnelled;

    eval { $self->{client}->wait_path($self->{address}, qr/direct/, $seconds) };

    my $pong = $self->{client}->ping($self->{address});

    return $pong ? $pong->{path} : 'none';
}


# Processes: nginx's own, and those of the tunnel.

sub nginx_pids {
    my ($self) = @_;
    return ($self->{nginx}->pid, $self->{nginx}->workers);
}


sub tunnel_pids {
    my ($self) = @_;

    return Bench::Usage::running($self->{lab}->path('modules',
                                                    'ngx_tailnet_core'))
        if $self->{kind} eq 'ours';

    return $self->{tunnel} ? $self->{tunnel}->process->pid : ();
}


# { nginx, tunnel }: CPU seconds so far.

sub cpu {
    my ($self) = @_;

    return {
        nginx  => Bench::Usage::cpu($self->nginx_pids),
        tunnel => Bench::Usage::cpu($self->tunnel_pids),
    };
}


# The process that carries the packets, for kill -9.

sub carrier_pid {
    my ($self) = @_;
    my @pids = $self->tunnel_pids;

    @pids = grep { Bench::Usage::name_of($_) eq 'tailnet-core' } @pids
        if $self->{kind} eq 'ours';

    croak "$self->{title} has " . @pids . ' processes to kill'
        if @pids != 1;

    return $pids[0];
}


# Our supervisor starts a new core; tailscaled is started again as its own
# systemd unit (Restart=on-failure) would, after systemd's default 100 ms.

sub restart_if_needed {
    my ($self) = @_;

    return if $self->{kind} ne 'tailscaled'
        || $self->{tunnel}->process->alive;

    sleep(0.1);
    $self->{tunnel}->start;
}


1;
